"""Audits of loading and preprocessing."""
