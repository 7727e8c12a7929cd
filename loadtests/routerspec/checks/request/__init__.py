"""The request: what a client asked reaches the provider, whole, at each attempt."""

from routerspec.checks.request import body, headers, retry, stream_flag

CHECKS = (body.BODY, retry.RETRY, headers.HEADERS, stream_flag.STREAM_FLAG)
"""In the order in which they are listed and reported; one that is missing here comes last."""
