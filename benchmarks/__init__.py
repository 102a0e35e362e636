"""One module a measurement; each prints as its last line one JSON object with its ratios and their bars."""
