"""Usage as the provider stated it: usage/told."""

from __future__ import annotations

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding
from routerspec.wire.answer import Answer, Dialect, Usage
from routerspec.wire.compare import usage_faults

_WHERE = ("message_delta", "response.completed", '"usage":{', '"usage": {',
          '"prompt_eval_count"', '"eval_count"')  # fmt: skip
_SHOWN: dict[Dialect, str] = {
    "chat": "openai-python shows the last usage of a stream, and None where there is none",
    "ollama": "ollama-python shows the counts of the last line, and None where it has none",
    "anthropic": "anthropic-python shows the last value of each count, from message_start or "
    "message_delta",
    "responses": "openai-python shows the usage of the last response, and None where it has none",
}


def _told(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        ("wire-answers",),
        _look,
        what="usage",
        held="answers, each with its provider's usage",
    )


def _look(pair: Pair) -> Look | None:
    if pair.both is None or not pair.both[1].choices or not _is_owed(pair):
        return None
    sent, read = pair.both
    told, shown = sent.usage, read.usage
    if told is None:
        return _untold(pair, sent, shown)
    faults = usage_faults(told, shown or Usage(), provider=sent.dialect, client=read.dialect)
    if not faults:
        return KEPT
    if shown is None:
        return _broken(pair, "usage lost", f"the provider told {_all(told)}", "no usage")
    if pair.mixed:
        return Look(excused="calls for embeddings may be in the count")
    return _broken(pair, faults[0], f"the provider told {_all(told)}", "; ".join(faults))


def _is_owed(pair: Pair) -> bool:
    """Not with an error in place of a good ending, and in a stream of chunks only where the client
    asked for it.
    """
    if pair.read is not None and pair.read.errors:
        return False
    return not pair.stream or pair.front != "chat" or _asks(pair.request)


def _asks(request: dict[str, object]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _untold(pair: Pair, sent: Answer, shown: Usage | None) -> Look | None:
    """The provider told no usage: because it was not asked, or it has none to tell."""
    if shown is not None:
        return Look(unseen="no provider told usage", notes=("estimated",))
    passed_on = not sent.stream or sent.dialect != "chat" or _asks(pair.arrived)
    if not pair.relay or not pair.stream or passed_on:
        return Look(unseen="no provider told usage")
    return _broken(
        pair,
        "usage not asked for",
        "stream_options.include_usage was asked for, and the provider read no such field",
        "no usage",
        f"the provider read the fields {', '.join(sorted(pair.arrived))}",
    )


def _broken(pair: Pair, broken: str, told: str, shown: str, *more: str) -> Look:
    return Look(
        broken=broken,
        sentence=f"Of an answer {told}; the client of nonce {pair.client.nonce} read {shown}.",
        facts=(
            *more,
            *both_sides.both_excerpts(pair, *_WHERE),
            _SHOWN[pair.front],
        ),
    )


def _all(usage: Usage) -> str:
    names = ("input", "output", "total", "cached", "written", "reasoning")
    counts = ((name, getattr(usage, name)) for name in names)
    return ", ".join(f"{name} {count}" for name, count in counts if count is not None)


TOLD = Check(
    id="usage/told",
    promise=Promises,
    scenarios=("wire-answers",),
    judge=_told,
    promised="The client receives the usage that the provider stated, once: input, output, their "
    "sum, and between equal dialects the cached and reasoning tokens; zero is stated as zero.",
    proved="The provider's bytes have token counts, and the client's have others or none, in a "
    "whole answer, in Ollama's last line, in Anthropic's events or a response's last one, or in a "
    "stream of chunks whose client asked for them; or the "
    "client of a stream asked, and the provider of the same dialect was not asked.",
    doubt="In the router's favour: nothing is owed after a disconnect, a broken stream or an "
    "error, in a stream whose client did not ask, and where the provider stated none (an estimate "
    "is counted, and proves nothing). Usage may come in any chunk, the last one counts. A "
    "translation may leave details out, and zero is nothing there; to and from Anthropic's "
    "dialect, which counts what a cache read or wrote beside the input, the input may be with or "
    "without them, and message_start may say nothing yet. Inconclusive where no usage was stated.",
    bug="Known fields copied and stream_options lost, the usage chunk dropped for its empty "
    "choices, zero taken for missing, cached tokens lost: openclaw/openclaw #90495, "
    "BYK/loreai PR #1485, diegosouzapw/OmniRoute #9750, BerriAI/litellm #37992 and #36882.",
    fix="Pass stream_options on, and every event that has usage, whatever else it has or lacks.",
)
