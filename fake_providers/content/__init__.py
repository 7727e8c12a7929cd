"""What answers contain: their tokens, tool calls, vectors, log probabilities."""
