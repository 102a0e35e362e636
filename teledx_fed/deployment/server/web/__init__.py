"""The coordinator's web page: the state of a federation."""
