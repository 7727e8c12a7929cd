"""Limits of requests and tokens: never more than promised, and no less.

A request counts where a provider received it. Windows begin where it suits the router best.
"""

from routerspec.checks.limits import failed_count, never_more, refused_is_free, retry_after, window

CHECKS = (
    never_more.NEVER_MORE,
    window.WINDOW,
    retry_after.RETRY_AFTER,
    refused_is_free.REFUSED_IS_FREE,
    failed_count.FAILED_COUNT,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
