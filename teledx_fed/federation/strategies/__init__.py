"""Strategies: how the server computes the next global weights from the updates of a round. One module per family."""
