"""Migrations of the gateway's tables, run by alembic."""
