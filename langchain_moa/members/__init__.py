"""Who answers: models and other runnables, and what is bound to them."""
