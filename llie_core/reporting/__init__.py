"""Scores, tables, figures, claims and HTML. Reads scores and published values, never models."""
