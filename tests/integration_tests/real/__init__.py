"""Real models: SmolLM2-135M on llama.cpp's own server. Shapes are asserted, and never words."""
