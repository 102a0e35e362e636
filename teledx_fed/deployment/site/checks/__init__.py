"""Checks for hospital IT before joining: each result with what was found and what to do."""
