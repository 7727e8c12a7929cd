"""What a cache of answers may keep, and to whom it may show it: cache/answers.

Each round has two requests of one body, the second sent when the first was over; the round's part
says in what else they differ. The second came from a cache where it was answered and no call of
this body arrived while it ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import CACHE_FAILING, CACHE_FORM, CACHE_KEY, CACHE_OTHER, CACHE_REPEAT
from routerspec.promises import Promises
from routerspec.records.observations import ClientTranscript, Observation
from routerspec.verdict import Finding, Number, Witness

SCENARIOS = ("cache-probes",)
_EVENTS: Final = ("text/event-stream", "application/x-ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Two requests of one round and the calls of their body."""

    start: StartHistory
    played: PlayedRound
    first: Observation
    second: Observation
    calls: tuple[Call, ...]

    @property
    def part(self) -> str:
        return self.played.round.part

    @property
    def cell(self) -> Cell:
        return self.played.cell

    @property
    def own(self) -> bool:
        """A call of this body arrived while the second request ran."""
        begun = self.second.started_ns
        return any(begun <= call.read_ns <= self.second.end_ns for call in self.calls)

    @property
    def is_cached(self) -> bool:
        """The second was answered, and no call was made for it."""
        return self.second.outcome == "answered" and not self.own

    @property
    def first_was_good(self) -> bool:
        """Some call for the first was finished by its provider."""
        return any(call.finished and call.read_ns <= self.first.end_ns for call in self.calls)


def _answers(history: History, promises: Promises) -> Finding:
    pairs = list(_pairs(history))
    accused = [(pair, fault) for pair in pairs if (fault := _fault(pair))]
    hits = Counter(pair.part for pair in pairs if pair.is_cached)
    numbers: dict[str, Number] = {"pairs": len(pairs), "cached": hits.total()}
    if accused:
        pair, fault = min(accused, key=lambda each: each[0].part == CACHE_KEY)
        route = ":".join(filter(None, pair.cell))
        return results.violated(f"{fault}: {route}", _witness(pair, fault), numbers)
    if hits[CACHE_REPEAT]:
        return results.held(
            f"{hits[CACHE_REPEAT]} answers cached, each for the same request", numbers
        )
    if promises.response_cache:
        return results.never_exercised("no answer came from the cache", numbers)
    if any(pair.part == CACHE_REPEAT and pair.own for pair in pairs):
        return results.not_applicable(
            "no response cache is promised, and the same request was answered by a new call",
            numbers,
        )
    return results.never_exercised("no request was repeated", numbers)


def _pairs(history: History) -> Iterator[_Pair]:
    for start, played in history.rounds(*SCENARIOS):
        clients = sorted(played.observations, key=lambda client: client.nonce)
        if len(clients) != 2 or clients[0].end_ns > clients[1].started_ns:
            continue
        first, second = clients
        calls = (*start.calls_of.get(first.nonce, ()), *start.calls_of.get(second.nonce, ()))
        yield _Pair(start=start, played=played, first=first, second=second, calls=calls)


def _fault(pair: _Pair) -> str:
    """What is wrong with an answer from the cache; empty: nothing, or it is none."""
    if not pair.is_cached or not pair.calls:
        return ""
    if pair.part in CACHE_FAILING and not pair.first_was_good:
        told = pair.second.mode == "stream" and bool(pair.second.error)
        return "" if told else f"{CACHE_FAILING[pair.part]} was kept and shown again"
    if pair.part in CACHE_OTHER and pair.first_was_good:
        return f"an answer was shown for a request with {CACHE_OTHER[pair.part]}"
    if pair.part in CACHE_FORM and pair.first_was_good and (kind := _kind(pair)):
        streams = any(kind.startswith(each) for each in _EVENTS)
        if streams != (pair.second.mode == "stream"):
            return f"an answer of {kind} was shown for a request with another `stream`"
    return ""


def _kind(pair: _Pair) -> str:
    """The Content-Type of the second answer; empty: not recorded."""
    read = pair.start.transcript_of.get(pair.second.nonce)
    values = read.response.values("content-type") if read and read.response else ()
    return values[0].partition(";")[0].strip().lower() if values else ""


def _witness(pair: _Pair, fault: str) -> Witness:
    start, played = pair.start, pair.played
    second = start.transcript_of.get(pair.second.nonce)
    return Witness(
        sentence=(
            f"The request of nonce {pair.second.nonce} was answered with {pair.second.status}, and "
            f"no provider was called for it: {fault}."
        ),
        facts=(
            witness.where(start, played),
            f"first: {witness.nonce_line(played, pair.first)}; status {pair.first.status}",
            *(
                f"{witness.call_line(start, played, call)}; status {call.status}, finished "
                f"{call.finished}"
                for call in pair.calls[:4]
            ),
            f"second: {witness.nonce_line(played, pair.second)}; status {pair.second.status}",
            *_excerpt(second),
        ),
    )


def _excerpt(read: ClientTranscript | None) -> tuple[str, ...]:
    data = read.response.body.data if read and read.response else None
    return (f"its body begins: {data[:160].decode(errors='replace')!r}",) if data else ()


ANSWERS = Check(
    id="cache/answers",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_answers,
    promised="A router that caches answers shows one again only to the same request: with the same "
    "parameters, the same messages and the same Authorization. It keeps whole good answers, no "
    "errors and no broken streams, and what it shows has the form that was asked for.",
    proved="A request was answered with a 2xx although no call of its body reached a provider, "
    "and the one before it with that body had failed at its provider, or had another parameter, "
    "system message or Authorization; or a stream was shown where a whole answer was requested, "
    "or the other way round.",
    doubt="In the router's favour: a stream that says that it failed is no answer; a refusal may "
    "be a circuit breaker's; a cache that turns a whole answer into a stream is sound. Not "
    "applicable where no cache is promised (`response_cache`) and a repeated request made a new "
    "call.",
    bug="Errors that are kept and replayed with status 200, keys that leave a parameter out: "
    "vllm-project/semantic-router #2130.",
    fix="Hash the whole request with its Authorization into the key, and store an answer when its "
    "finish was read.",
)
