"""Rounds: the server sends a model, validates the sites' updates, and aggregates them with a strategy."""
