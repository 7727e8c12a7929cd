"""The fallback is asked for its own model, and the answer names no other: failover/model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.failover.tried import Tried, one_server, only_direct, tried, witness_of
from routerspec.checks.request import json_values
from routerspec.history.history import Cell, History, StartHistory
from routerspec.promises import Failover
from routerspec.records.load_plan import FAKE_MODEL
from routerspec.records.providers import base_of
from routerspec.verdict import Finding

SCENARIOS = ("failover-fallback", "failover")
_EMBEDDINGS: Final = "embeddings"


def _model(history: History, _promise: Failover) -> Finding:
    usual = _usual_models(history)
    asked = 0
    for its in only_direct(history, tried(history, *SCENARIOS)):
        due = _models_due(history, its, usual)
        for call in its.elsewhere:
            name = base_of(call.provider)
            if name not in due or call.family == _EMBEDDINGS:
                continue
            if _without_tag(call.model) not in due[name]:
                return _wrong_model(its, call, due[name])
            asked += 1
        if (claimed := _claims_another(its)) is not None:
            return _wrong_claim(its, claimed)
    if not asked:
        return results.never_exercised("no call was made elsewhere after a failure")
    return results.held(f"{asked} calls after a failure, each for its own model", {"asked": asked})


def _usual_models(history: History) -> dict[tuple[str, Cell, str], set[str]]:
    """(start, cell, provider) -> the models that good requests of smoke asked for there."""
    usual: dict[tuple[str, Cell, str], set[str]] = {}
    for start, played in history.rounds("smoke"):
        if played.round.part != "route":
            continue
        for call in start.calls_for(played.observations):
            if call.finished:
                key = start.info.name, played.cell, base_of(call.provider)
                usual.setdefault(key, set()).add(_without_tag(call.model))
    return usual


def _models_due(
    history: History, its: Tried, usual: dict[tuple[str, Cell, str], set[str]]
) -> dict[str, set[str]]:
    """Provider -> the models that the request may be made for there."""
    due: dict[str, set[str]] = {}
    for route in history.info.routes:
        if route.name != its.client.route:
            continue
        for provider, model in route.fallbacks:
            name = model.replace("{model}", FAKE_MODEL)
            due.setdefault(provider, set()).add(_without_tag(name))
    for (start, cell, provider), models in usual.items():
        if start == its.start.info.name and cell == its.cell:
            due.setdefault(provider, set()).update(models)
    return due


def _without_tag(model: str) -> str:
    return model.removesuffix(":latest")


def _claims_another(its: Tried) -> str | None:
    """The model that a whole answer names, where that is neither the one that its client asked
    for nor one that was asked for at a provider; None: it is, or names none.
    """
    transcript = its.start.transcript_of.get(its.client.nonce)
    if transcript is None or transcript.response is None or not its.served:
        return None
    request = json_values.read_object(transcript.request.body.data)
    answer = json_values.read_object(transcript.response.body.data)
    if request is None or answer is None or not isinstance(answer.get("model"), str):
        return None
    claimed = _without_tag(answer["model"])
    asked = str(request.get("model", ""))
    known = {_without_tag(call.model) for call in its.elsewhere}
    known |= {_without_tag(told) for told in _told(its.start, its.elsewhere)}
    # Whatever a router writes before a model's own name, as its name of the provider.
    bare = claimed.rpartition("/")[2]
    return None if {claimed, bare} & (known | {asked, asked.rpartition("/")[2]}) else claimed


def _told(start: StartHistory, calls: tuple[Call, ...]) -> Iterator[str]:
    """What the providers' own answers named."""
    for call in calls:
        transcript = start.call_transcripts.get((call.provider, call.call))
        if transcript is not None and transcript.response is not None:
            answer = json_values.read_object(transcript.response.body.data) or {}
            if isinstance(answer.get("model"), str):
                yield answer["model"]


def _wrong_model(its: Tried, call: Call, due: set[str]) -> Finding:
    sentence = (
        f"After a failure nonce {its.client.nonce} was made for the model {call.model[:80]!r} of "
        f"{call.provider}, which is to be asked for {' or '.join(map(repr, sorted(due)))}."
    )
    return results.violated(f"another model at {call.provider}", witness_of(its, sentence))


def _wrong_claim(its: Tried, claimed: str) -> Finding:
    sentence = (
        f"The answer to nonce {its.client.nonce} names the model {claimed[:80]!r}, which neither "
        "its client nor the router had asked for."
    )
    return results.violated("the answer names another model", witness_of(its, sentence))


MODEL = Check(
    id="failover/model",
    promise=Failover,
    scenarios=SCENARIOS,
    needs_target=one_server,
    judge=_model,
    promised="The fallback is asked for the model that the route names for it, another instance "
    "for the same model as the first, and the answer claims no other.",
    proved="After a failure the evidence has a call at another provider for a model that is not "
    "the route's for it; or the client's answer names a model that neither the client asked for "
    "nor any call for it.",
    doubt="In the router's favour: the tag `:latest` and the provider's name before a model do not "
    "matter, a provider that no route names may be asked for anything, and streams are not read "
    "for the name that they claim. Inconclusive where no call was made elsewhere after a failure.",
    bug="The fallback gets the model and options of the first provider: apache/apisix #13769; a "
    "fallback whose answer is reported as the first model's: BerriAI/litellm #29808.",
    fix="Keep the model with the provider in the list of fallbacks, and build each attempt's body "
    "from the client's.",
)
