"""A busy provider's own Retry-After reaches the client: errors/retry-after."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results
from routerspec.checks.check import Check
from routerspec.checks.request.forwarded import Arrived, Forwarded, forwarded
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Kind, Number, Witness

SCENARIOS = ("provider-busy",)
RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Statuses after which clients wait and try again."""
_SLACK_S = 1.0
"""What may have passed, or be rounded off, on the way."""


def _retry_after(history: History, _promises: Promises) -> Finding:
    told = 0
    other = 0
    accused: list[tuple[Forwarded, Arrived, str]] = []
    for each in forwarded(history, *SCENARIOS):
        if each.client.outcome != "refused" or not each.calls or _succeeded(each):
            continue
        last = each.calls[-1]
        seconds = _of_provider(last)
        if seconds is None:
            continue
        if each.client.status not in RETRIED:
            other += 1
            continue
        if fault := _fault(each, seconds):
            accused.append((each, last, fault))
        else:
            told += 1
    numbers: dict[str, Number] = {"told": told, "not told": len(accused)}
    if accused:
        each, last, fault = accused[0]
        names = list(dict.fromkeys(cells.name(its.cell) for its, _, _ in accused))
        return results.violated(
            f"{fault}: {results.first(names[0], names)}", _witness(each, last.call, fault), numbers
        )
    if not told and other:
        return results.not_applicable("no busy provider's status was passed on", numbers)
    if not told:
        return results.never_exercised("no client met a busy provider", numbers)
    return results.held(f"{told} clients were told how long to wait", numbers)


def _succeeded(each: Forwarded) -> bool:
    return any(arrived.call.finished for arrived in each.calls)


def _of_provider(arrived: Arrived) -> float | None:
    sent = arrived.transcript.response
    values = sent.values("retry-after") if sent else ()
    return float(values[0]) if values and values[0].isdecimal() else None


def _fault(each: Forwarded, seconds: float) -> str:
    """What is wrong with what the client was told; empty: nothing."""
    value = each.client.retry_after.strip()
    if not value:
        return "Retry-After dropped"
    try:
        told = float(value)
    except ValueError:
        return "" if _is_date(value) else f"Retry-After is {value[:40]!r}"
    return f"Retry-After {value} for {seconds:g}" if told < seconds - _SLACK_S else ""


def _is_date(value: str) -> bool:
    try:
        parsedate_to_datetime(value)
    except ValueError:
        return False
    return True


def _witness(each: Forwarded, call: Call, fault: str) -> Witness:
    response = each.asked.response
    fields = (
        ", ".join(f"{name}: {value[:60]}" for name, value in response.fields) if response else ""
    )
    return Witness(
        sentence=(
            f"The provider refused the call for nonce {each.client.nonce} with {call.status} and "
            f"said how long to wait; the client was refused with {each.client.status}: {fault}."
        ),
        facts=(*each.lines(call), f"the client read: {fields}"),
    )


RETRY_AFTER = Check(
    id="errors/retry-after",
    kind=Kind.SHOULD,
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_retry_after,
    promised="A client that is refused because its provider is busy (429, 503, 529) receives "
    "the provider's own Retry-After.",
    proved="The bytes of both sides: each call for the client was refused, the last one with a "
    "Retry-After, and the client got a status after which clients try again, without one or with "
    "one that is more than a second shorter.",
    doubt="In the router's favour: a longer time, a date, and another status are no violation; "
    "where the router maps it to a status that clients do not retry nothing is owed.",
    bug="The headers of the provider's error are dropped, or renamed: BerriAI/litellm #21553 and "
    "#37754, whose clients then retry at once, or for ever.",
    fix="Copy Retry-After (and retry-after-ms) from the provider's error into yours.",
)
