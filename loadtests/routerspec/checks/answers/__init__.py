"""The answers: each client receives its own, whole, as it is made, and errors as errors."""

from routerspec.checks.answers import (
    attempts,
    cut_short,
    errors,
    incremental,
    own,
    slow_stream,
    whole,
)

CHECKS = (
    own.OWN,
    whole.WHOLE,
    incremental.INCREMENTAL,
    slow_stream.SLOW_STREAM,
    cut_short.CUT_IS_NO_SUCCESS,
    errors.ERROR_IS_ERROR,
    errors.ERROR_IS_JSON,
    cut_short.NO_REPLAY,
    attempts.ATTEMPTS,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
