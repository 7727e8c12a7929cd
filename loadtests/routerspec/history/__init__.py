"""Both sides of a run joined by nonce and put in order, and whether they can be believed.

Decides which records belong to this run. Refuses to know any check.
"""
