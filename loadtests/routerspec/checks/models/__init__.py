"""The model list: one fetch per expiry, fresh, shared, and alive when a provider is not."""
