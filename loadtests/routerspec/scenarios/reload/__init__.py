"""Rounds in which the router reads its configuration again."""
