"""What the client asked reaches the provider: request/body.

Only the first call of a client is compared: what becomes of the body when it is tried again is
request/retry's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from routerspec.checks import cells, results
from routerspec.checks.check import Check
from routerspec.checks.request.forwarded import Forwarded, forwarded
from routerspec.checks.request.json_values import Difference
from routerspec.checks.request.relays import relays
from routerspec.history.history import Cell, History
from routerspec.limits import BODY_REFUSED, LARGE_BODIES, ORDINARY_BODIES
from routerspec.promises import Promises
from routerspec.verdict import Finding, Witness

SCENARIOS = ("request-bodies",)
_NOT_ITS_SIZE: Final = frozenset({401, 402, 403, 408, 425, 429, 503, 504})
"""Why else a router refuses a request: its key, its budget, or that the time is wrong."""


@dataclass(slots=True)
class _Tally:
    """What was seen of one route and mode."""

    compared: int = 0
    large: int = 0
    """Of those, bodies of a megabyte or more."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that the router refused, by part and status."""
    unserved: dict[str, list[Forwarded]] = field(default_factory=dict)
    """Large bodies that never reached a provider, by part."""
    tried: set[str] = field(default_factory=set)
    """The parts of large bodies that were sent."""
    served: set[str] = field(default_factory=set)
    """Parts of which one reached a provider, or need not."""
    witness: Witness | None = None
    summary: str = ""


def _body(history: History, promises: Promises) -> Finding:
    composed = relays(history).composed
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for each in forwarded(history, *SCENARIOS):
        if each.cell not in composed:
            _read(each, tallies[each.cell], promises)
    numbers = {
        "compared": sum(its.compared for its in tallies.values()),
        "large": sum(its.large for its in tallies.values()),
    }
    # A forced tool is not sent here: its bodies have no fields beside it.
    expected = [cell for cell in history.cells if cell not in composed and cell[1] != "tools"]
    if not expected:
        return results.not_applicable("no route sends a client's request on as one call", numbers)
    refused = "".join(
        f"; {part} refused: {cells.name(cell)}"
        for cell, its in sorted(tallies.items())
        for part in its.refused
    )
    return cells.judge(
        tallies,
        expected,
        accuse=_accused,
        lacks=_lacks,
        held=f"{numbers['compared']} bodies arrived as they were sent{refused}",
        numbers=numbers,
    )


def _read(each: Forwarded, its: _Tally, promises: Promises) -> None:
    part, body = each.played.round.part, each.body
    is_large = part in LARGE_BODIES
    if body is None:
        return
    if is_large:
        its.tried.add(part)
    if not each.calls:
        its_size = each.client.status not in _NOT_ITS_SIZE
        if each.client.outcome == "refused" and (part in ORDINARY_BODIES or not its_size):
            its.refused[f"{part} {each.client.status}"] += 1
        elif is_large and _was_turned_away(each):
            most = promises.max_body_bytes
            if most is None or each.asked.request.body.length <= most:
                its.unserved.setdefault(part, []).append(each)
            else:
                its.served.add(part)
        return
    its.served.add(part)
    first = each.calls[0]
    if not first.is_kept:
        return
    its.compared += 1
    its.large += is_large
    differs = _differs(each, promises)
    if differs is not None and its.witness is None:
        its.summary = differs.sentence
        its.witness = _witness(each, differs)


def _was_turned_away(each: Forwarded) -> bool:
    return each.client.outcome in {"refused", "failed"} and not each.start.router_died


def _differs(each: Forwarded, promises: Promises) -> Difference | None:
    first, asked = each.calls[0], each.body
    assert asked is not None
    rewrites = frozenset(promises.rewrites)
    if first.body is None:
        return Difference(pointer="", expected=asked, found=None)
    return each.difference(first, rewrites)


def _accused(its: _Tally) -> tuple[str, Witness] | None:
    if its.witness is not None:
        return its.summary, its.witness
    for part, clients in sorted(its.unserved.items()):
        if part not in its.served and len(clients) >= BODY_REFUSED:
            each = clients[0]
            how = f"refused with {each.client.status}" if each.client.status else "cut off"
            length = each.asked.request.body.length
            sentence = (
                f"{len(clients)} times of {len(clients)} a request with a body of {length} bytes "
                f"was {how}, and no provider was asked, which takes it."
            )
            shown = Witness(
                sentence=sentence,
                facts=(*each.lines(), f"error {each.client.error[:160]!r}"),
            )
            return f"a body of {length} bytes {how}", shown
    return None


def _lacks(its: _Tally | None) -> str:
    if its is None or not its.compared:
        refused = "; ".join(f"{part}" for part in its.refused) if its else ""
        why = f"refused: {refused}" if refused else "no request of it was answered"
        return f"never exercised: {why}"
    unserved = sorted(its.tried - its.served)
    refused = f" (refused: {'; '.join(its.refused)})" if its.refused else ""
    return f"never exercised: {', '.join(unserved)} did not arrive{refused}" if unserved else ""


def _witness(each: Forwarded, differs: Difference) -> Witness:
    first = each.calls[0]
    read = "in its own dialect" if each.is_relay(first) else "in another dialect"
    asked, arrived = each.asked.request, first.transcript.request
    return Witness(
        sentence=(
            f"The request of nonce {each.client.nonce} reached its provider {read} with another "
            f"content: {differs.sentence}."
        ),
        facts=(
            *each.lines(first.call),
            f"sent: {asked.method} {asked.target}, {asked.body.length} bytes, SHA-256 "
            f"{asked.body.sha256[:16]}",
            f"arrived: {arrived.method} {arrived.target}, {arrived.body.length} bytes, SHA-256 "
            f"{arrived.body.sha256[:16]}",
        ),
    )


BODY = Check(
    id="request/body",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_body,
    promised="What a client asked reaches its provider. Where both speak one dialect, every field "
    "that the client sent is equal as JSON, unknown and nested ones too: integers are exact, texts "
    "are the same character by character, messages and other arrays keep their order. Across "
    "dialects the texts of the messages in their order, the tools and the limit of the answer's "
    "length arrive, and no sampling parameter arrives with another value. A body of up to 4 MiB is "
    "not refused.",
    proved="The bytes of both sides: the body that the client wrote and the one that the provider "
    "read differ as JSON, in a field other than `model`, `stream` and those in `rewrites`. Or a "
    "body that the provider takes never reached it, twice of twice.",
    doubt="In the router's favour: fields that it adds, members that it adds to `stream_options` "
    "and `metadata`, a null that it leaves out, a default of the dialect whether spelled out or "
    "left out (one part with a text for this text, an item of type message for one without a "
    "type), the order of an object's members, the spelling of "
    "numbers and texts, and fractions in single precision are no change; what a dialect cannot "
    "say may be dropped; a refusal of an ordinary body is said, and no violation, and neither is "
    "one of a large body that need not be about its size (401 to 403, 408, 425, 429, 503, 504); "
    "agents and RAG, "
    "which make several calls or write prompts of their own, are left out; a body larger than "
    "`max_body_bytes` may be refused. Inconclusive where no body of a route and mode arrived.",
    bug="Numbers that go through a float (llm-d/llm-d-router #2518), bodies rebuilt from known "
    "fields (openclaw/openclaw #90495, BYK/loreai PR #1485), a default limit of the body's size "
    "(mnfst/llm-gateway #2126, kortix-ai/suna PR #6490).",
    fix="Change the fields that are yours in the parsed body and keep all others, with a parser "
    "that keeps large integers; set the limit of the body to what your providers take.",
)
