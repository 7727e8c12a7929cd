"""The headers with which a provider is called: request/headers.

The client's fields have values of their own (``limits.CANARIES``): what stands at a provider came
from the client. Of a proxy (``keys = "passthrough"``), which forwards what its clients send, these
are numbers only: nginx and HAProxy forward all of them as they come.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from fake_providers.records.transcripts import HttpRequest
from routerspec.checks import cells, results
from routerspec.checks.check import Check
from routerspec.checks.request.forwarded import Arrived, Forwarded, forwarded
from routerspec.history.history import Cell, History
from routerspec.limits import CANARIES, HOP_BY_HOP, TRACE_ID
from routerspec.promises import Promises
from routerspec.verdict import Finding, Witness

SCENARIOS = ("request-bodies",)
PARTS = ("headers", "upgrade")
_CODED = frozenset({"gzip", "deflate", "br", "zstd", "x-gzip"})


@dataclass(slots=True)
class _Tally:
    """What was seen of one route and mode."""

    read: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    fault: str = ""
    witness: Witness | None = None


def _headers(history: History, promises: Promises) -> Finding:
    tallies: defaultdict[Cell, _Tally] = defaultdict(_Tally)
    for each in forwarded(history, *SCENARIOS):
        its = tallies[each.cell]
        with_canaries = each.played.round.part in PARTS
        for arrived in each.calls:
            its.read += with_canaries
            faults = list(_faults(each, arrived, promises)) if with_canaries else []
            faults += (*_coding(each, arrived), *_version(each, arrived))
            its.faults.update(faults)
            if with_canaries and promises.keys == "passthrough":
                its.faults.update(_forwarded(each.asked.request, arrived.transcript.request))
            if faults and its.witness is None:
                its.fault, its.witness = faults[0], _witness(each, arrived, faults)
    sent = {cell for cell, its in tallies.items() if its.read}
    chats = [cell for cell in history.cells if cell[1] in {"chat", "stream"}]
    numbers: Counter[str] = sum((its.faults for its in tallies.values()), Counter())
    if not chats:
        return results.not_applicable("the target has no chat")
    read = sum(its.read for its in tallies.values())
    held = f"{read} calls with headers of the router's own"
    if promises.keys == "passthrough":
        held = f"{read} calls, with their clients' headers as a proxy forwards them"
    return cells.judge(
        tallies,
        [cell for cell in chats if cell[0] not in {route for route, _ in sent}],
        accuse=lambda its: (its.fault, its.witness) if its.witness else None,
        lacks=lambda its: "never exercised: no request with such headers arrived",
        held=held,
        numbers=dict(sorted(numbers.items())),
    )


def _faults(each: Forwarded, arrived: Arrived, promises: Promises) -> Iterator[str]:
    asked, got = each.asked.request, arrived.transcript.request
    sent = {name.lower() for name, _ in asked.fields}
    traced = any(TRACE_ID in value for value in got.values("traceparent"))
    if promises.trace and "traceparent" in sent and not traced:
        yield "traceparent does not continue the client's trace"
    if promises.keys == "own":
        yield from _forwarded(asked, got)


def _forwarded(asked: HttpRequest, got: HttpRequest) -> Iterator[str]:
    sent = {name.lower() for name, _ in asked.fields}
    for name, canary in CANARIES.items():
        holders = sorted({key.lower() for key, value in got.fields if canary in value})
        if name in sent and holders:
            yield f"the client's {name} was forwarded in {', '.join(holders)}"
    for name, canary in HOP_BY_HOP.items():
        if name in sent and any(canary in value for value in got.values(name)):
            yield f"{name} is for one connection only, and was forwarded"
    if "proxy-authorization" in sent and got.values("proxy-authorization"):
        yield "the client's proxy-authorization was forwarded"
    if set(asked.values("host")) & set(got.values("host")):
        yield "Host is the router's own address"


def _version(each: Forwarded, arrived: Arrived) -> Iterator[str]:
    """Between ends of Anthropic's dialect its version is the client's, and no beta is lost."""
    asked, got = each.asked.request, arrived.transcript.request
    if not asked.values("anthropic-version") or not each.is_relay(arrived):
        return
    before, after = asked.values("anthropic-version"), got.values("anthropic-version")
    if set(before) != set(after):
        yield f"anthropic-version {before[0]} became {', '.join(after) or 'none'}"
    lost = _names(asked, "anthropic-beta") - _names(got, "anthropic-beta")
    if lost:
        yield f"anthropic-beta lost {', '.join(sorted(lost))}"


def _names(request: HttpRequest, field: str) -> set[str]:
    names = ",".join(request.values(field)).split(",")
    return {name.strip() for name in names if name.strip()}


def _coding(each: Forwarded, arrived: Arrived) -> list[str]:
    """A coded answer is decoded, or still says its coding to a client that accepts it."""
    sent, read = arrived.transcript.response, each.asked.response
    if sent is None or read is None or sent.status != read.status or not each.is_relay(arrived):
        return []
    codings = {c.lower() for c in sent.values("content-encoding")} & _CODED
    if not codings or not sent.body.length:
        return []
    named = {c.lower() for c in read.values("content-encoding")}
    coding = min(codings)
    if read.body.sha256 == sent.body.sha256 and not named & codings:
        return [f"the provider's {coding} body was passed on without its Content-Encoding"]
    accepted = " ".join(each.asked.request.values("accept-encoding")).lower()
    if named & codings and coding not in accepted and "*" not in accepted:
        return [f"the client got a {coding} body, which it does not accept"]
    return []


def _witness(each: Forwarded, arrived: Arrived, faults: list[str]) -> Witness:
    def lines(fields: tuple[tuple[str, str], ...]) -> str:
        return ", ".join(f"{name}: {value[:80]}" for name, value in fields)

    return Witness(
        sentence=f"The call for nonce {each.client.nonce}: {'; '.join(dict.fromkeys(faults))}.",
        facts=(
            *each.lines(arrived.call),
            f"sent: {lines(each.asked.request.fields)}",
            f"arrived: {lines(arrived.transcript.request.fields)}",
        ),
    )


HEADERS = Check(
    id="request/headers",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_headers,
    promised="A provider gets the headers of a call and not those of the client's connection: no "
    "cookies, no X-Forwarded-For that the client made up, no hop-by-hop fields, its own Host. With "
    "`trace`, the client's traceparent. A coded answer is decoded, or passed on with its "
    "Content-Encoding to a client that accepts it. Between a client and a provider of Anthropic's "
    "dialect anthropic-version and every name in anthropic-beta are passed on.",
    proved="The bytes of both sides: a value that only the client has stands in a header of the "
    "provider's request; Host is the address at which the client reached the router; or a coded "
    "body reached the client without its coding's name, or one that it does not accept; or the "
    "version of a client of Anthropic's, or a beta that it named, is not what the provider read.",
    doubt="In the router's favour: fields of the same name with values of the router's own are no "
    'matter; a router with `keys = "passthrough"` may forward all but hop-by-hop fields; a '
    "traceparent with another parent is the same trace, betas may be added, and in as many fields "
    "as the router likes. Inconclusive where no request with such "
    "headers arrived.",
    bug="The client's headers are copied and a few are taken out: brandonrc/mobula #32, "
    "OpenSecretCloud/maple-proxy PR #47. RFC 9110, 7.6.1, names the fields that end at each hop.",
    fix="Build the upstream headers of each call from an allow-list.",
)
