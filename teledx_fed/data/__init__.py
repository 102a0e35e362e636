"""Photographs: where they lie, how they are prepared, and which hospital holds them."""
