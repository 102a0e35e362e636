"""Lets the tests in the folders below import the helpers that lie here."""
