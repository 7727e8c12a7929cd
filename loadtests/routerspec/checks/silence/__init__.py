"""What a router does while a provider is silent: silence/*."""

from __future__ import annotations

from routerspec.checks.silence import gives_up, keep_alive, long_stream

CHECKS = (keep_alive.KEEP_ALIVE, long_stream.LONG_STREAM, gives_up.GIVES_UP)
