"""How proposals become the answer: merged, compared first, or one of them taken as it is."""
