"""Rounds in which a provider says nothing for a long time."""
