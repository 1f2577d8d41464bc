"""One call, from the conversation to the answer."""
