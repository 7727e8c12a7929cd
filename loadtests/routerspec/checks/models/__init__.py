"""The model list: one fetch per expiry, fresh, shared, and served while a provider is down."""

from routerspec.checks.models import (
    by_id,
    cached,
    dead_provider,
    failing,
    leader_hang_up,
    not_behind_cap,
    one_fetch,
    refreshed,
)

CHECKS = (
    one_fetch.COLD,
    one_fetch.ON_EXPIRY,
    one_fetch.UNCAPPED,
    cached.CACHED,
    by_id.BY_ID,
    refreshed.REFRESHED,
    refreshed.NO_GOING_BACK,
    cached.TTL_FROM_RECEIPT,
    dead_provider.DEAD_PROVIDER,
    failing.FAILURE_NOT_CACHED,
    failing.FAILING_THROTTLED,
    leader_hang_up.LEADER_HANG_UP,
    not_behind_cap.NOT_BEHIND_CAP,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
