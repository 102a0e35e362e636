"""Fuzzing of a real clinic: mutated files and requests, and how it answers them."""
