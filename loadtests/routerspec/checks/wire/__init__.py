"""What a client reads on the wire: HTTP itself, and the frames that its dialect needs."""

from routerspec.checks.wire import http, keep_alive

CHECKS = (http.HTTP, keep_alive.KEEP_ALIVE)
"""In the order in which they are listed and reported; one that is missing here comes last."""
