"""What an author should change when a route fails smoke. Pure.

Decides from what the client got, and from whether a provider was asked at all, which words of the
target file to look at first. Refuses to judge: a failed smoke is never held against the router.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.records.observations import Observation

_URL: Final = (
    "is its provider the fake's URL? It has no path: /v1 may be missing behind it, or come twice"
)
_LOG: Final = "its own words are in router.log of the run"


def asked(calls: Sequence[Call]) -> str:
    """What the providers saw of one client's request, as a clause."""
    if not calls:
        return "no provider was asked"
    call = calls[-1]
    answer = "did not answer" if call.status is None else f"answered {call.status}"
    return f"{call.provider} was asked for {call.model!r} at {call.route} and {answer}"


def advice(client: Observation, calls: Sequence[Call]) -> str:
    """What to look at first, given what ``client`` got and what it made the router ask."""
    table = f"[routes.{client.route}]"
    match client.status:
        case None:
            words = _LOG if calls else f"{_LOG}; {_URL}"
        case 401 | 403:
            words = "the key it wants goes into [client] key, other headers into [client.headers]"
        case 404 | 405 | 501:
            words = _not_there(client, calls, table)
        case 400 | 415 | 422:
            words = (
                f"`model` or `front` of {table} may be wrong, or a header be missing in "
                "[client.headers]; a mode that it lacks is left out of `modes`"
            )
        case 408 | 429 | 503 if not calls:
            words = (
                f"{_LOG}: a setting may leave it without a provider; or it is not up yet: let "
                f"`ready` wait for its providers; or {_URL}"
            )
        case status if status >= 400:
            words = _LOG if calls else f"{_URL}; {_LOG}"
        case _ if calls:
            words = f"is `front` of {table} the dialect in which the router answers?"
        case _:
            words = f"somebody else answers in the provider's place: {_URL}"
    return words


def _not_there(client: Observation, calls: Sequence[Call], table: str) -> str:
    if any(call.status == client.status for call in calls):
        return f"the provider's own model is {{model}}: `model` of {table} must come to that"
    return (
        f"`model`, `path` or `front` of {table} may be wrong; a mode that it lacks is left out of "
        f"`modes`; {_URL}"
    )
