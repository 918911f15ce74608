"""Audits of the update."""
