"""What an answer has beside its content: wire/ids, wire/extras."""

from __future__ import annotations

from typing import Any

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Kind
from routerspec.wire.answer import Answer, Choice, Fault, quoted
from routerspec.wire.compare import same_json

SCENARIOS = ("wire-answers",)
_SIGNED = ("signature_delta", '"signature":', "redacted_thinking", "encrypted_content")


def _ids(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        SCENARIOS,
        _look_at_ids,
        modes=("stream",),
        what="stream with an id",
        held="streams, each with one id",
    )


def _look_at_ids(pair: Pair) -> Look | None:
    if pair.both is None:
        return None
    sent, read = pair.both
    if pair.front == "ollama":
        return Look(excused="Ollama's answers have no id")
    if not read.ids:
        return Look(excused="the router's chunks have no id")
    changed = read.faults_of("id-changed")
    if changed and not (pair.relay and sent.faults_of("id-changed")):
        return _changed(pair, changed[0])
    if len(read.ids) == 1 or (pair.relay and len(sent.ids) > 1):
        return KEPT
    return Look(
        broken=f"{len(read.ids)} ids in one stream",
        sentence=f"The id changes within the stream of the client of nonce {pair.client.nonce}: "
        f"{len(read.ids)} different ones in {read.events} events.",
        facts=(
            f"ids that the provider sent: {', '.join(map(quoted, sent.ids)) or 'none'}",
            f"ids that the client read: {', '.join(map(quoted, read.ids[:6]))}",
            *both_sides.both_excerpts(pair, read.ids[1]),
            "the stream helper of openai-python raises RuntimeError"
            if pair.front == "responses"
            else f"{pair.library} passes them on; whoever groups by id has several answers",
        ),
    )


def _changed(pair: Pair, fault: Fault) -> Look:
    return Look(
        broken="the id of an item changes",
        sentence=f"In the stream of the client of nonce {pair.client.nonce}, {fault.text}.",
        facts=(
            fault.client,
            *both_sides.both_excerpts(pair, fault.text.rpartition(": ")[2].strip("'\"")),
        ),
    )


def _extras(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        SCENARIOS,
        _look_at_extras,
        what="log probability, refusal, annotation or signed reasoning",
        held="answers with log probabilities, refusals, annotations or signed reasoning, each with "
        "its own",
    )


def _look_at_extras(pair: Pair) -> Look | None:
    wanted = pair.request.get("logprobs") is True
    if wanted and (reason := both_sides.not_owed(pair, "logprobs")):
        return Look(excused=reason)
    if pair.both is None:
        return None
    sent, read = pair.both
    given = [choice for choice in sent.choices if _has_extras(choice)]
    if (given or wanted) and not pair.relay:
        return Look(excused="a translation need not keep them")
    if wanted and not pair.arrived.get("logprobs") and not given:
        return _not_asked(pair)
    for choice in given:
        if lost := _lost(choice, read):
            return _missing(pair, choice.index, lost)
    return KEPT if given else None


def _has_extras(choice: Choice) -> bool:
    return bool(choice.logprobs or choice.refusal or choice.annotations or choice.thoughts)


def _lost(sent: Choice, answer: Answer) -> str:
    """Which of them did not arrive; empty: all did, or the whole choice is missing."""
    read = answer.choice(sent.index)
    if read is None:
        return ""
    if sent.logprobs and _probabilities(sent) != _probabilities(read):
        return "logprobs"
    # A refusal may be told as text, which every client shows.
    if sent.refusal and sent.refusal not in {read.refusal, read.text}:
        return "refusal"
    if sent.thoughts and sent.thoughts != read.thoughts:
        return "signed reasoning"
    kept = all(any(same_json(one, its) for its in read.annotations) for one in sent.annotations)
    return "" if kept else "annotations"


def _probabilities(choice: Choice) -> list[tuple[Any, Any]]:
    return [
        (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (entry, None)
        for entry in choice.logprobs or ()
    ]


def _not_asked(pair: Pair) -> Look:
    return Look(
        broken="logprobs not passed on",
        sentence=f"The client of nonce {pair.client.nonce} asked for log probabilities, and its "
        "provider was not asked for any; the client has none and no error.",
        facts=(
            "the client sent logprobs: true",
            f"the provider read the fields {', '.join(sorted(pair.arrived))}",
            *both_sides.both_excerpts(pair, '"logprobs"'),
        ),
    )


def _missing(pair: Pair, index: int, what: str) -> Look:
    return Look(
        broken=f"{what} lost",
        sentence=f"The provider sent {what} with choice {index}; the client of nonce "
        f"{pair.client.nonce} has not the same.",
        facts=(
            *both_sides.both_excerpts(pair, f'"{what}":{{', f'"{what}": {{', f'"{what}"', *_SIGNED),
            f"{pair.library} shows {what} as the client's bytes have it",
        ),
    )


IDS = Check(
    id="wire/ids",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_ids,
    promised="All chunks of one stream have one id; in a response, so do all events of one item, "
    "and a tool call keeps the id that its result refers to.",
    proved="The chunks or events in the client's bytes have several different ids, and those in "
    "the provider's do not.",
    doubt="In the router's favour: another id than the provider's, and chunks without any, are "
    "allowed. Inconclusive where no stream with an id was compared.",
    bug="A translation that makes an id for each chunk or event, at which the stream helper of "
    "openai-python raises an error. No public report is cited.",
    fix="Make the id once, when the stream begins.",
    kind=Kind.SHOULD,
)
EXTRAS = Check(
    id="wire/extras",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_extras,
    promised="Log probabilities, refusals, annotations and reasoning that is signed or encrypted "
    "reach the client as the provider gave them; signed reasoning character by character and in "
    "its order, for providers take it back only so.",
    proved="On a route whose client and provider speak the same dialect, the provider's bytes have "
    "them and the client's have not the same; or the client asked for log probabilities, and the "
    "provider was not asked.",
    doubt="In the router's favour: a refusal may be text, other fields of an entry are free, "
    "translations owe none of it, and neither does a router that refuses with a status of 400 to "
    "499. Inconclusive where no provider gave any.",
    bug="An answer built anew from the fields that the router knows. No public report is cited.",
    fix="Pass on what is not known, or refuse what cannot be passed on.",
    kind=Kind.SHOULD,
)
