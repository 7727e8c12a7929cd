"""What opens the breaker of a provider, and how it closes again."""
