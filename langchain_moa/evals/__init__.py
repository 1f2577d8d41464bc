"""Evaluation: AlpacaEval 2, MT-Bench, FLASK, and a user's own prompts."""
