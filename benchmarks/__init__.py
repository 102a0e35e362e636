"""Benchmarks, one per module. Each prints as its last line one JSON object with its ratios and their bars."""
