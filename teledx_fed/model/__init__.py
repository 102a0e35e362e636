"""The network, its initial weights and what of it travels."""
