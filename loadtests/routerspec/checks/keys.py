"""Each provider's key stays with that provider: keys/stay-home.

Both sides recorded the names of the keys that they saw, never the keys. A leak needs no second
witness, for the harness puts no key there, and a fault of a scenario does not take it away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from routerspec.checks import results, witness
from routerspec.checks.check import Check, TargetFacts
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Witness

CLIENT = "client_key"
"""The name of the client's own key. A provider's is its name with ``_key``."""


_PLACEHOLDERS: Final = ("{openai_key}", "{ollama_key}", "{anthropic_key}")


def _stay_home(history: History, _promises: Promises) -> Finding:
    home: Counter[str] = Counter()
    read = 0
    astray: list[tuple[str, Witness]] = []
    for start in history.starts:
        for provider, canaries, line in _provider_requests(start):
            read += 1
            home.update(name for name in canaries if name == f"{provider}_key")
            for name in canaries:
                if name != f"{provider}_key":
                    leak = f"{name} was sent to {provider}"
                    astray.append((leak, _witness(start, leak, line)))
        for names, line in _client_answers(start):
            read += 1
            for name in names:
                if name != CLIENT:
                    leak = f"{name} was shown to a client"
                    astray.append((leak, _witness(start, leak, line)))
    numbers = {"looked_at": read, "astray": len(astray)}
    numbers |= {f"{name}_at_home": times for name, times in sorted(home.items())}
    if astray:
        summary, shown = astray[0]
        return results.violated(summary, shown, numbers)
    if not home:
        return results.never_exercised(
            "no provider received its own key; does the target file give the router "
            f"{' and '.join(_PLACEHOLDERS)}?",
            numbers,
        )
    unseen = sorted(f"{p}_key" for p in _providers(history) if f"{p}_key" not in home)
    more = f"; not tried, as it was never sent: {', '.join(unseen)}" if unseen else ""
    return results.held(f"{', '.join(sorted(home))} sent only to its own provider{more}", numbers)


def _providers(history: History) -> set[str]:
    return {base_of(call.provider) for start in history.starts for call in start.calls}


def _provider_requests(start: StartHistory) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(provider, names of the keys in the request, a line about the request)."""
    for call in start.calls:
        line = f"call {call.call} of {call.route}, nonce {' '.join(map(str, call.nonces))}"
        yield base_of(call.provider), call.canaries, f"fake {call.provider} {line}"
    for fetch in start.fetches:
        line = f"fake {fetch.provider} fetch {fetch.fetch} of {fetch.route}"
        yield base_of(fetch.provider), fetch.canaries, line


def _client_answers(start: StartHistory) -> Iterator[tuple[tuple[str, ...], str]]:
    """(names of the keys in the answer, a line about the answer)."""
    for played in start.rounds:
        for client in played.observations:
            yield client.secrets, f"{_round(played)}: {witness.nonce_line(played, client)}"
        for request in played.lists:
            yield request.secrets, f"{_round(played)}: {witness.list_line(played, request)}"


def _round(played: PlayedRound) -> str:
    return f"round {played.round.round} ({played.round.scenario})"


def _witness(start: StartHistory, leak: str, line: str) -> Witness:
    return Witness(
        sentence=f"A key leaked: {leak}.",
        facts=(
            f"start {start.info.name}",
            line,
            "the key's exact characters were in the headers, the address, the body or the trailers",
        ),
    )


def _passed_on(promises: Promises) -> str:
    if promises.keys == "passthrough":
        return "the client's key is promised to be passed on"
    return ""


def _unknown_keys(target: TargetFacts) -> str:
    """Nobody knows the router's keys unless it is given ours."""
    if not target.is_started:
        return "the router was running already: its keys are not known"
    if not any(placeholder[1:-1] in target.placeholders for placeholder in _PLACEHOLDERS):
        return f"the target file gives the router no {' and no '.join(_PLACEHOLDERS)}"
    return ""


CHECKS = (
    Check(
        id="keys/stay-home",
        promise=Promises,
        exempt=_passed_on,
        needs_target=_unknown_keys,
        scenarios=("keys", "smoke"),
        plays=("keys",),
        judge=_stay_home,
        compares_clocks=False,
        promised="Each provider's key is sent to that provider only, the client's key to none, and "
        "no client ever sees a provider's key, in whichever header clients send their own.",
        proved="A key of this run, by its exact characters, in a request to another provider than "
        "its own, or a provider's key in what a client receives: the status line, the headers, the "
        "body, the trailers, or the text of an answer, also where the key is split over several "
        "pieces of it.",
        doubt="In the router's favour: a masked, truncated or encoded key is not recognised (but "
        "for escapes of JSON and URLs). "
        "Inconclusive unless some provider received its own key; not applicable to a router that "
        "was running already, whose keys are not known.",
        bug="Headers of the client or of the first provider are reused for the next one, or quoted "
        "in an error: maximhq/bifrost #3954, BerriAI/litellm #14371 and #16667, "
        "NVIDIA-NeMo/nemo-platform PR #1589.",
        fix="Build the upstream headers of each call from an allow-list, and never put a request "
        "into an error message.",
    ),
)
