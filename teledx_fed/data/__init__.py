"""Photographs: sources, preparation, and division among hospitals."""
