"""Tool calls: they reach the client, and their results reach the provider."""

from routerspec.checks.tools import arrive, round_trip

CHECKS = (arrive.ARRIVE, round_trip.ROUND_TRIP, arrive.INTERLEAVED)
"""In the order in which they are listed and reported; one that is missing here comes last."""
