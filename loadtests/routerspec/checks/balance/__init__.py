"""Balance: how calls are spread over the instances of a provider, and which are left alone."""

from routerspec.checks.balance import affinity, cap, dead, spread

CHECKS = (spread.SPREAD, dead.DEAD_INSTANCE, affinity.AFFINITY, cap.CAP)
"""In the order in which they are listed and reported; one that is missing here comes last."""
