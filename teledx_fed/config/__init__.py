"""The settings of a run, by part: their checks, and how they are composed and loaded."""
