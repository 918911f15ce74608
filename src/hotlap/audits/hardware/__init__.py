"""Audits of the machine and its libraries."""
