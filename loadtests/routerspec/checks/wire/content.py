"""What a choice says: wire/text, wire/finish-reason, wire/choices."""

from __future__ import annotations

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding
from routerspec.wire.answer import Answer, Choice, quoted
from routerspec.wire.compare import same_finish

SCENARIOS = ("wire-answers",)
_ONE_CHOICE = {
    "ollama": "Ollama's dialect has one choice",
    "anthropic": "Anthropic's dialect has one choice",
    "responses": "a response has one choice",
}
_REASONS = ('"stop_reason":"', '"stop_reason": "', "incomplete_details", "response.completed")
_CONTEXT = 20
"""Characters that are shown before the first difference."""


def _text(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history, SCENARIOS, _look_at_text, what="text", held="texts, every character of each"
    )


def _look_at_text(pair: Pair) -> Look | None:
    sent, read = pair.sent, pair.read
    if sent is None or sent.calls or not any(choice.text for choice in sent.choices):
        return None
    if pair.withheld:
        return _withheld(pair)
    if read is None or not pair.complete or not pair.delivered:
        return None
    for choice in sent.choices:
        theirs = read.choice(choice.index)
        if theirs is None and choice.index:
            continue  # wire/choices
        text = theirs.text if theirs else ""
        if text.count(choice.text) != 1:
            return _differs(pair, choice.text, text)
    faults = read.faults_of("text-disagrees")
    if faults and not (pair.relay and sent.faults_of("text-disagrees")):
        return Look(
            broken="the last response has another text",
            sentence=f"In the stream of the client of nonce {pair.client.nonce}, {faults[0].text}.",
            facts=(faults[0].client, *both_sides.both_excerpts(pair, "response.completed")),
        )
    return KEPT


def _withheld(pair: Pair) -> Look:
    received = f"status {pair.status}" if pair.status else "no status"
    if pair.status == 200:
        received = "status 200 and then half of a response"
    return Look(
        broken=f"{received} for a whole answer",
        sentence=f"The provider sent all of its answer; the client of nonce {pair.client.nonce} "
        f"received {received}.",
        facts=(
            *both_sides.both_excerpts(pair),
            f"what the client met: {quoted(pair.asked.fault or pair.client.error or 'nothing')}",
        ),
    )


def _differs(pair: Pair, sent: str, read: str) -> Look:
    at = next(
        (place for place, (a, b) in enumerate(zip(sent, read, strict=False)) if a != b),
        min(len(sent), len(read)),
    )
    begin = max(0, at - _CONTEXT)
    here, there = sent[begin : at + _CONTEXT], read[begin : at + _CONTEXT]
    broken = "text doubled" if read.count(sent) > 1 else "another text"
    return Look(
        broken=broken,
        sentence=f"The client of nonce {pair.client.nonce} has {broken} than its provider sent."
        if broken == "another text"
        else f"The client of nonce {pair.client.nonce} has its provider's text more than once.",
        facts=(
            f"{len(sent)} characters were sent and {len(read)} read; from character {at + 1} on "
            f"they differ: {here!a} was sent, {there!a} read",
            *both_sides.both_excerpts(pair, *_near(sent, at)),
            f"{pair.library} joins the deltas to exactly this text, without an error",
        ),
    )


def _near(text: str, at: int) -> tuple[str, ...]:
    """Where to look in the bytes: the last token before the difference."""
    words = text[:at].split(" ")
    return (words[-1] if len(words[-1]) > 3 else " ".join(words[-2:]),)


def _finish_reason(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history, SCENARIOS, _look_at_finish, what="answer", held="finish reasons, each as given"
    )


def _look_at_finish(pair: Pair) -> Look | None:
    if pair.both is None:
        return None
    sent, read = pair.both
    several = any(len(choice.finishes) > 1 for choice in read.choices)
    if read.errors or several or (pair.stream and not read.ended):
        return None  # wire/ending
    for choice in sent.choices:
        theirs = read.choice(choice.index)
        if theirs is not None and not same_finish(sent, read, choice.index):
            return _another_finish(pair, choice, theirs)
    return KEPT if read.choices else None


def _another_finish(pair: Pair, sent: Choice, read: Choice) -> Look:
    here, there = repr(sent.finish), repr(read.finish) if read.finish else "none"
    return Look(
        broken=f"{there} for {here}",
        sentence=f"The provider ended choice {sent.index} with {here}; the client of nonce "
        f"{pair.client.nonce} read {there}.",
        facts=(
            *both_sides.both_excerpts(
                pair, '"finish_reason":"', '"finish_reason": "', "done_reason", *_REASONS
            ),
            f"{pair.library} shows {there} as the reason why the answer ended",
        ),
    )


def _choices(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        SCENARIOS,
        _look_at_choices,
        what="answer of several choices",
        held="answers of several choices, each choice by its index",
    )


def _look_at_choices(pair: Pair) -> Look | None:
    if one := _ONE_CHOICE.get(pair.front):
        return Look(excused=one)
    n = pair.request.get("n")
    wanted = n if isinstance(n, int) else 1
    if wanted > 1 and (reason := _not_owed(pair)):
        return Look(excused=reason)
    if pair.both is None or not pair.both[1].choices:
        return None
    sent, read = pair.both
    if pair.arrived.get("n", 1) != wanted and len(read.choices) < wanted:
        return _not_asked(pair, wanted, read)
    here = {choice.index for choice in sent.choices}
    there = {choice.index for choice in read.choices}
    if here != there:
        return _other_indexes(pair, here, there)
    return KEPT if wanted > 1 else None


def _not_owed(pair: Pair) -> str:
    one = _ONE_CHOICE.get(pair.back or "") if pair.answered is not None else None
    if one is not None:
        return one
    return both_sides.not_owed(pair, "several choices")


def _other_indexes(pair: Pair, here: set[int], there: set[int]) -> Look:
    return Look(
        broken=f"choices {_named(there)} for {_named(here)}",
        sentence=f"The provider sent the choices {_named(here)}; the client of nonce "
        f"{pair.client.nonce} read {_named(there)}.",
        facts=(
            *both_sides.both_excerpts(pair, '"index":1', '"index": 1'),
            f"openai-python tells choices apart by index, and shows {len(there)}",
        ),
    )


def _not_asked(pair: Pair, wanted: int, read: Answer) -> Look:
    arrived = pair.arrived.get("n", "none")
    return Look(
        broken="n not passed on",
        sentence=f"The client of nonce {pair.client.nonce} asked for {wanted} choices, and its "
        f"provider read n: {arrived}; the client has {len(read.choices)} and no error.",
        facts=(
            f"the client sent n: {wanted}",
            f"the provider read the fields {', '.join(sorted(pair.arrived))}",
            *both_sides.both_excerpts(pair, '"index":'),
        ),
    )


def _named(indexes: set[int]) -> str:
    return ", ".join(map(str, sorted(indexes))) or "none"


TEXT = Check(
    id="wire/text",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_text,
    promised="Every character of a text reaches the client, wherever the provider or the network "
    "cut the bytes: multi-byte characters, surrogate pairs, escapes, large pieces.",
    proved="The provider sent a whole answer, and the text that its events join to, choice by "
    "choice, does not stand once in what the client's join to, or in the last response that its "
    "stream ends with; or the client received an error or half a response in its place.",
    doubt="In the router's favour: text around the provider's is allowed, pieces may be cut and "
    "joined anywhere, also within a surrogate pair, and answers with tool calls, and those that "
    "were framed as no provider does, are left out. "
    "Requests for which several calls were made are left out too. Inconclusive where no text of a "
    "route was compared.",
    bug="Bytes decoded read by read, so that a character cut in two becomes U+FFFD twice; events "
    "lost with the rest of a read; escapes decoded once too often: decolua/9router PR #3545, "
    "jawah/urllib3.future PR #344.",
    fix="Decode after the stream was split into events, or with an incremental decoder.",
)
FINISH_REASON = Check(
    id="wire/finish-reason",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_finish_reason,
    promised="An answer ends for the reason that its provider gave.",
    proved="The provider ended a choice with one reason, and the client's bytes have another, or "
    "an end marker and none.",
    doubt="In the router's favour: stop may become tool_calls where tools are called; towards "
    "Ollama's dialect tool_calls is stop, and reasons that it does not know are free. Inconclusive "
    "where no answer of a route was compared.",
    bug="length reported as stop, so that nobody notices an answer that was cut: "
    "BerriAI/litellm #25825, UKGovernmentBEIS/inspect_ai #5143.",
    fix="Map every reason of each dialect, and pass on those that are not known.",
)
CHOICES = Check(
    id="wire/choices",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_choices,
    promised="Each choice of an answer reaches the client under its own index.",
    proved="The indexes in the client's bytes are not those in the provider's; or the client asked "
    "for several, the provider of the same dialect was not asked for as many, and the client has "
    "fewer and no error.",
    doubt="In the router's favour: a router that refuses n above 1 with a status of 400 to 499, a "
    "provider that does, and a translation to a dialect without choices owe nothing. Inconclusive "
    "where nobody was answered with several.",
    bug="A translation that reads choices[0] only, or writes index 0 into every chunk. No "
    "public report is cited.",
    fix="Keep the state of a stream by choice, and pass the index on.",
)
