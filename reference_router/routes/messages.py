"""``/v1/messages`` and ``/v1/messages/count_tokens``: Anthropic's API as a front.

Decides what is passed on as it came, which is all that goes to a provider of that dialect, and what
is translated, which is all else. Refuses to know how.
"""

from __future__ import annotations

from functools import partial

from reference_router import api_version
from reference_router.body import Body, parsed
from reference_router.front import Generation, Job
from reference_router.router import Router, split, unknown
from reference_router.routes import rag, translated
from reference_router.shapes import MESSAGES
from reference_router.translations import messages_to_chat

PATH = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
OWN = "anthropic"


def generating(router: Router, library: rag.Library) -> Generation:
    """The application of ``/v1/messages``."""
    return Generation(
        router.front,
        partial(plan, router, library),
        shape=MESSAGES,
        remember=api_version.remember,
    )


def counting(router: Router) -> Generation:
    """The application of ``/v1/messages/count_tokens``."""
    return Generation(
        router.front, partial(plan_count, router), shape=MESSAGES, remember=api_version.remember
    )


def plan(router: Router, library: rag.Library, body: bytes) -> Job:
    """The job that a request for a message asks for. Raises ApiError 400 or 404."""
    request = parsed(body)
    if request["model"].startswith(f"{OWN}/"):
        return _passed_on(router, request, PATH)
    return translated.job(router, library, request, messages_to_chat, MESSAGES)


def plan_count(router: Router, body: bytes) -> Job:
    """The job that a request to count tokens asks for: nothing is generated.

    Raises ApiError 400 or 404: only a provider of this dialect counts.
    """
    return _passed_on(router, parsed(body), COUNT_TOKENS, counted=False)


def _passed_on(router: Router, request: Body, path: str, *, counted: bool = True) -> Job:
    model = request["model"]
    route, rest = split(model)
    if route != OWN or OWN not in router.relays:
        raise unknown(model)
    request["model"] = rest
    return Job(
        route=route,
        provider=route,
        stream=bool(request.get("stream")),
        open=partial(router.relays[OWN].relay, path, request),
        request=request,
        counted=counted,
        shape=MESSAGES,
    )
