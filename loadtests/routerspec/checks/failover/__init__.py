"""Failover: what becomes of a request whose instance of a provider fails."""

from routerspec.checks.failover import (
    asked,
    attempts,
    client_errors,
    client_left,
    model,
    one_answer,
    permit,
    returns,
    served,
)

CHECKS = (
    served.SERVED,
    asked.ASKED,
    one_answer.ONE_ANSWER,
    attempts.ATTEMPTS,
    permit.PERMIT,
    model.MODEL,
    client_errors.CLIENT_ERRORS,
    returns.RETURNS,
    client_left.CLIENT_LEFT,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
