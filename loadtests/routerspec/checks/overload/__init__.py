"""A saturated router: which clients it queues, which it refuses, and with which answer."""

from routerspec.checks.overload import queued, rejection

CHECKS = (
    queued.QUEUED,
    rejection.ANSWER,
    rejection.RETRY_AFTER,
    rejection.JSON_ERROR,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
