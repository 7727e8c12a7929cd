"""``/v1/embeddings``: the providers' own models only; an agent has nothing to embed."""

from __future__ import annotations

from functools import partial

from reference_router.answer import ApiError
from reference_router.body import parsed
from reference_router.front import Job
from reference_router.router import Router, split, unknown


def plan(router: Router, body: bytes) -> Job:
    """The job that an embeddings request asks for. Raises ApiError 400 or 404."""
    request = parsed(body)
    model = request["model"]
    if "input" not in request:
        raise ApiError(400, "There is no input.", param="input")
    route, rest = split(model)
    if route not in router.providers:
        raise unknown(model)
    request["model"] = rest
    return Job(
        route=route,
        provider=route,
        open=partial(router.providers[route].embed, request),
        request=request,
    )
