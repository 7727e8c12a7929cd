"""The files that a fake writes: the shape of a record, the ledger that keeps it, the clock.

Decides the shape of evidence and how it survives a kill. Refuses to know dialects and sockets.
"""
