"""Measurements against plain LangChain, side by side in one run: ratios, never bare times."""
