"""``/v1/responses``: OpenAI's Responses API as a front.

Decides what is passed on as it came, which is all that goes to a provider of that dialect. Refuses
to know what a request says, and remembers no response: what a client refers to is its provider's.
"""

from __future__ import annotations

from functools import partial

from reference_router.body import parsed
from reference_router.front import Generation, Job
from reference_router.router import Router, split, unknown
from reference_router.shapes import RESPONSES

PATH = "/v1/responses"
OWN = "openai"


def generating(router: Router) -> Generation:
    """The application of ``/v1/responses``."""
    return Generation(router.front, partial(plan, router), shape=RESPONSES)


def plan(router: Router, body: bytes) -> Job:
    """The job that a request for a response asks for. Raises ApiError 400 or 404."""
    request = parsed(body)
    model = request["model"]
    route, rest = split(model)
    if route != OWN:
        raise unknown(model)
    request["model"] = rest
    return Job(
        route=route,
        provider=route,
        stream=bool(request.get("stream")),
        open=partial(router.relays[OWN].relay, PATH, request),
        shape=RESPONSES,
    )
