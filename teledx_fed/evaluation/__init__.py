"""How good a model is, how sure we are, and what of that may leave a site."""
