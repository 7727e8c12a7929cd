"""The cap: never more open calls than promised, on any route, at any moment."""

from routerspec.checks.cap import at_rest, counts, hang_ups, over_time, under_load

CHECKS = (
    at_rest.EACH_ROUTE,
    at_rest.ACROSS_ROUTES,
    at_rest.STREAMS,
    over_time.OVER_TIME,
    at_rest.BURST,
    over_time.AFTER_FAILURES,
    over_time.ATTEMPTS,
    hang_ups.HANG_UPS,
    counts.COUNT_TOKENS,
    under_load.UNDER_LOAD,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
