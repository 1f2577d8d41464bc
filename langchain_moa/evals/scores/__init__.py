"""Scores: pure functions from rows, as upstream's files have them, to numbers."""
