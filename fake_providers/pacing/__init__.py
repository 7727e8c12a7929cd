"""How slow real servers are: latency profiles, the batch scheduler, rate limits.

Decides when the next piece is due. Refuses to know what is in it.
"""
