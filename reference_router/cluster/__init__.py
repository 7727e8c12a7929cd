"""What the replicas of the router share through Redis.

Imported only with ``ROUTER_COORDINATION=redis``.
"""
