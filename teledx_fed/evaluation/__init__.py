"""Evaluation: metrics, confidence intervals, thresholds, score tables of sites."""
