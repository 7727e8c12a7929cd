"""``/v1/responses``: OpenAI's Responses API as a front.

Decides what is passed on as it came, which is all that goes to a provider of that dialect, and what
is translated, which is all else. Remembers no response: what a client refers to is its provider's.
"""

from __future__ import annotations

from functools import partial

from reference_router.body import parsed
from reference_router.front import Generation, Job
from reference_router.router import Router, split
from reference_router.routes import rag, translated
from reference_router.shapes import RESPONSES
from reference_router.translations import responses_to_chat

PATH = "/v1/responses"
OWN = "openai"


def generating(router: Router, library: rag.Library) -> Generation:
    """The application of ``/v1/responses``."""
    return Generation(router.front, partial(plan, router, library), shape=RESPONSES)


def plan(router: Router, library: rag.Library, body: bytes) -> Job:
    """The job that a request for a response asks for. Raises ApiError 400 or 404."""
    request = parsed(body)
    route, rest = split(request["model"])
    if route != OWN:
        return translated.job(router, library, request, responses_to_chat, RESPONSES)
    request["model"] = rest
    return Job(
        route=route,
        provider=route,
        stream=bool(request.get("stream")),
        open=partial(router.relays[OWN].relay, PATH, request),
        request=request,
        shape=RESPONSES,
    )
