"""Several replicas of one router: one cap and one model list over all of them."""

from routerspec.checks.replicas import (
    cut_off,
    killed,
    one_cap,
    one_fetch,
    order,
    paused,
    store_gone,
    store_restarted,
)

CHECKS = (
    one_cap.REPLICAS,
    killed.KILLED,
    paused.PAUSED,
    cut_off.CUT_OFF,
    store_restarted.RESTARTED,
    store_gone.GONE,
    one_fetch.ONE_FETCH,
    order.ORDER,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
