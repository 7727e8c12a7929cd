"""Clients that hang up: the provider learns of it, and nobody else does."""
