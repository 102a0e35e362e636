"""The hospital's side: the worker beside the data, what it checks and refuses, and the checks before joining."""
