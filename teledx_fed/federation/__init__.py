"""Rounds: models go down, vetted updates come up, Flower's strategies aggregate them."""
