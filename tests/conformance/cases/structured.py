"""Rows of the structured families."""

CASES = []
