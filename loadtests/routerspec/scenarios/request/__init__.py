"""The load of the request checks: bodies and headers that a router may spoil, and retries."""
