"""Strategies: how the updates of a round become the next global weights, a class for each, by family."""
