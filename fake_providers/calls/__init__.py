"""One call from its arrival to its record: played, held, ended, counted.

Decides what a provider does with a call. Refuses to know in which dialect it is written.
"""
