"""What answers say: their tokens, their log probabilities."""
