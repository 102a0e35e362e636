"""What the researcher sees: report.json, report.html, plots, progress."""
