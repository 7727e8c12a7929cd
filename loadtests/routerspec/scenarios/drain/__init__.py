"""Rounds in which the router is told to drain."""
