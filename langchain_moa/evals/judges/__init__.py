"""Judges: what they are asked about answers, and how what they say is read."""
