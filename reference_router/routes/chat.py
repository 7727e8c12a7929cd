"""``/v1/chat/completions``: finds the provider of the model, and the route.

Decides provider and route from the model id. Refuses to know the providers' dialects.

    openai/X   ollama/X            that provider's X
    agent/Y    rag/Y               Y is openai/X or ollama/X again; a bare X means openai/X
"""

from __future__ import annotations

from functools import partial

from reference_router.body import Body, messages_of, parsed
from reference_router.front import Job
from reference_router.router import Router, split, unknown
from reference_router.routes import agent, rag
from reference_router.upstream import Provider


def plan(router: Router, library: rag.Library, body: bytes) -> Job:
    """The job that a chat request asks for. Raises ApiError 400 or 404."""
    return job(router, library, parsed(body))


def job(router: Router, library: rag.Library, request: Body) -> Job:
    """The job of a chat request, whichever front it came by. Raises ApiError 400 or 404."""
    model = request["model"]
    request["messages"] = messages_of(request)
    route, rest = split(model)
    stream = bool(request.get("stream"))
    if route in router.providers:
        request["model"] = rest
        provider = router.providers[route]
        return Job(
            route=route,
            provider=provider.name,
            stream=stream,
            open=partial(provider.chat, request),
            request=request,
        )
    if route == "agent":
        provider = _behind(router, rest, request)
        return Job(
            route=route,
            provider=provider.name,
            stream=stream,
            open=partial(agent.run, provider, request, router.settings.agent_steps),
            request=request,
        )
    if route == "rag":
        provider = _behind(router, rest, request)
        return Job(
            route=route,
            provider=provider.name,
            stream=stream,
            open=partial(rag.run, provider, request, library),
            request=request,
        )
    raise unknown(model)


def _behind(router: Router, model: str, request: Body) -> Provider:
    """The provider that an agent or RAG request generates with; its model goes into ``request``."""
    name, _, rest = model.partition("/")
    if name not in router.providers or not rest:
        name, rest = "openai", model
    request["model"] = rest
    return router.providers[name]
