"""The hospital's side: the worker beside the data, its checks of messages, and the checks before joining."""
