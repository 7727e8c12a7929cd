"""A minimal LLM router that keeps its promises, and can be started with one defect at a time.

A router like any other: it imports neither the fakes nor the harness and has no privileges.
"""
