"""Errors: what a client's own fault, or a busy provider, means for it and for the others."""

from routerspec.checks.errors import client_errors, retry_after

CHECKS = (client_errors.CLIENT_ERRORS, retry_after.RETRY_AFTER)
"""In the order in which they are listed and reported; one that is missing here comes last."""
