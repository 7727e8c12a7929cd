"""httpx's short calls over plain HTTP, on one client for the whole process.

``httpx.get`` and its like read the certificates of every authority at each call (26 ms of processor
time), although nothing here speaks TLS. Each call still has a connection of its own.
"""

from __future__ import annotations

import httpx

CLIENT = httpx.Client(
    verify=False,
    trust_env=False,
    limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
)

get = CLIENT.get
head = CLIENT.head
post = CLIENT.post
delete = CLIENT.delete
