"""Whether a router that is sent its draining signal ends well: drain/*."""

from __future__ import annotations

from routerspec.checks.drain import exit, permits, refuses, whole  # noqa: A004 - checks' own names

CHECKS = (whole.WHOLE, refuses.REFUSES, exit.EXIT, permits.PERMITS)
