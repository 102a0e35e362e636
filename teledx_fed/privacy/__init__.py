"""Checks of the messages that leave a hospital."""
