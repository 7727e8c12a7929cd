"""A minimal LLM router that keeps its promises, and can be told to break them one at a time.

A router like any other: it imports neither the fakes nor the harness and has no privileges.
"""
