"""Fuzzing of a real clinic with mutated files and requests."""
