"""Alembic migrations: one file for each version, in `site` and in `identified`."""
