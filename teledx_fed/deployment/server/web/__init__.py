"""The coordinator's page: where a federation stands, in a browser."""
