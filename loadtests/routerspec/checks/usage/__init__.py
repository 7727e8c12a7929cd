"""Token counts: what the client is told is what the provider told."""

from routerspec.checks.usage import told

CHECKS = (told.TOLD,)
"""In the order in which they are listed and reported; one that is missing here comes last."""
