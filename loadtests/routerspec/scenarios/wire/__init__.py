"""Rounds in which the bytes of both sides are recorded."""
