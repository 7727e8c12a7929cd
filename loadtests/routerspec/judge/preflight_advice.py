"""What to correct in a target file when a route fails the preflight. Pure.

Decides by the client's answer, and by whether a request reached a provider at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.limits import NO_SUCH_MODE
from routerspec.records.observations import Observation

FURTHER: Final = "smoke-further"
"""The round that follows the failure of a whole route; its part says which front was tried."""
BEARER: Final = "bearer"
"""Or this part: the same front, with the key as ``Authorization: Bearer`` as well."""
_URL: Final = (
    "is its provider the fake's URL? It has no path: /v1 may be missing behind it, or come twice"
)
_GZIP: Final = b"\x1f\x8b\x08".decode(errors="replace")
"""How gzip begins, as a client's record has it."""
_LOG: Final = "see the router's own output in router.log of the run"


def received(calls: Sequence[Call]) -> str:
    """What the providers received of one client's request, as a clause."""
    if not calls:
        return "no request reached a provider"
    call = calls[-1]
    answer = "did not answer" if call.status is None else f"answered {call.status}"
    return f"{call.provider} received a request for {call.model!r} at {call.route} and {answer}"


def advice(client: Observation, calls: Sequence[Call], answered: Sequence[str] = ()) -> str:
    """What to check first, by the client's answer and the provider calls made for it.

    ``answered``: parts of the further round in which the router did answer.
    """
    table = f"[routes.{client.route}]"
    match client.status:
        case _ if BEARER in answered:
            text = (
                "it takes a key as `Authorization: Bearer` only: state "
                f'headers = {{ Authorization = "Bearer {{client_key}}" }} in {table}'
            )
        case status if answered and status in NO_SUCH_MODE and not calls:
            text = other_front(client.route, answered)
        case None:
            text = _LOG if calls else f"{_LOG}; {_URL}"
        case 401 | 403:
            text = "set its key as [client] key, other headers in [client.headers]"
        case 404 | 405 | 501:
            text = _not_there(client, calls, table)
        case 400 | 415 | 422:
            text = (
                f"`model` or `front` of {table} may be wrong, or a header be missing in "
                "[client.headers]; a mode that it lacks is left out of `modes`"
            )
        case 408 | 429 | 503 | 529 if not calls:
            text = (
                f"{_LOG}: a setting may leave it without a provider; or it is not ready yet: let "
                f"`ready` wait for its providers; or {_URL}"
            )
        case status if status >= 400:
            text = _LOG if calls else f"{_URL}; {_LOG}"
        case _ if _GZIP in client.error:
            text = (
                "its answer is compressed, and clients of the load state no Accept-Encoding: turn "
                "compression off for those"
            )
        case _ if calls:
            text = f"is `front` of {table} the dialect in which the router answers?"
        case _:
            text = f"another server answers in the provider's place: {_URL}"
    return text


def other_front(route: str, answered: Sequence[str]) -> str:
    """What to check where a route is answered in other dialects than its own."""
    fronts = " or ".join(f'front = "{front}"' for front in answered)
    return f"it answers there in another dialect: state {fronts} in [routes.{route}]"


def wrong_provider(route: str, reached: str) -> str:
    """What to check where the request of a route reached another provider than stated."""
    return (
        f"two models or providers' URLs may be swapped; or [routes.{route}] lacks "
        f'`provider = "{reached}"`'
    )


def _not_there(client: Observation, calls: Sequence[Call], table: str) -> str:
    if any(call.status == client.status for call in calls):
        return f"the provider's own model is {{model}}: `model` of {table} must come to that"
    return (
        f"`model`, `path` or `front` of {table} may be wrong; a mode that it lacks is left out of "
        f"`modes`; {_URL}"
    )
