"""Fake model servers that are slow, scriptable and watching: the ground truth of a run.

They know nothing of routers or of load generators.
"""
