"""The files that a fake writes: what a call is, the ledger that keeps it, the clock.

Decides the shape of evidence and how it survives a kill. Refuses to know dialects and sockets.
"""
