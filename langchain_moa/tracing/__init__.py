"""Runs and their listeners."""
