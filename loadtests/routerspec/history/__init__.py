"""Both sides of a run joined by nonce and put in order, and whether they can be believed.

Decides what counts as a record of ours. Refuses to know any check.
"""
