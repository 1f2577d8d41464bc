"""Chat models from strings."""
