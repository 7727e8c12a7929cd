"""Circuit breakers: what opens them, and how they close again."""

from routerspec.checks.breaker import client_errors, half_open

CHECKS = (client_errors.CLIENT_ERRORS, half_open.HALF_OPEN)
"""In the order in which they are listed and reported; one that is missing here comes last."""
