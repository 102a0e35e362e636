"""Reports of runs: report.json, report.html, plots, progress, trackers, comparisons."""
