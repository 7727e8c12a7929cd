"""Clients that disconnect: the provider learns of it, and no other client is affected."""

from routerspec.checks.cancel import queued_stays_home, reaches_provider, spares_others

CHECKS = (
    reaches_provider.REACHES_PROVIDER,
    queued_stays_home.QUEUED_STAYS_HOME,
    spares_others.SPARES_OTHERS,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
