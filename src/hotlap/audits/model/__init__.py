"""Audits of the model and its loss."""
