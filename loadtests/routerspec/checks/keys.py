"""The keys: keys/stay-home. Pure.

Decides whether each provider's key was seen at that provider only, the client's key at none, and
no provider's key in anything that a client saw. Judged from all that was played. Refuses to know
the keys themselves: both sides wrote down names only.

Direction of doubt: a key was seen where its very characters were; one that was changed on its way
(encoded, cut short, masked) accuses nobody. A leak needs no second witness, for nothing of ours
puts a key there; that a scenario went wrong on our side does not take it away. A run in which no
provider saw its own key has shown nothing: the router may have had none of ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.verdict import Finding, Witness

CLIENT = "client_key"
"""The name of the client's own key. A provider's is its name with ``_key``."""

_ID = "keys/stay-home"


def stay_home(history: History, _promises: Promises) -> Finding:
    """Each provider's key only there; the client's key at none; no provider's at a client.

    Doubt: as the module says. Inconclusive unless some provider saw its own key. A target file
    that gives one key to several providers must not promise this.
    """
    home: Counter[str] = Counter()
    looked = 0
    astray: list[tuple[str, Witness]] = []
    for start in history.starts:
        for provider, canaries, line in _seen_by_providers(start):
            looked += 1
            home.update(name for name in canaries if name == f"{provider}_key")
            for name in canaries:
                if name != f"{provider}_key":
                    told = f"{name} was seen at {provider}"
                    astray.append((told, _witness(start, told, line)))
        for names, line in _seen_by_clients(start):
            looked += 1
            for name in names:
                if name != CLIENT:
                    told = f"{name} was shown to a client"
                    astray.append((told, _witness(start, told, line)))
    numbers = {"looked_at": looked, "astray": len(astray)}
    numbers |= {f"{name}_at_home": times for name, times in sorted(home.items())}
    if astray:
        summary, shown = astray[0]
        return results.violated(summary, shown, numbers)
    if not home:
        return results.inconclusive(
            "never exercised: no provider saw a key of its own; does the target file give the "
            "router {openai_key} and {ollama_key}?",
            numbers,
        )
    seen = ", ".join(sorted(home))
    unseen = sorted(f"{p}_key" for p in _providers(history) if f"{p}_key" not in home)
    more = f"; never seen, so not tried: {', '.join(unseen)}" if unseen else ""
    return results.held(f"{seen} only at home{more}", numbers)


def _providers(history: History) -> set[str]:
    return {call.provider for start in history.starts for call in start.calls}


def _seen_by_providers(start: StartHistory) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(provider, names of the keys in the request, the request in words)."""
    for call in start.calls:
        line = f"call {call.call} of {call.route}, nonce {' '.join(map(str, call.nonces))}"
        yield call.provider, call.canaries, f"fake {call.provider} {line}"
    for fetch in start.fetches:
        line = f"fake {fetch.provider} fetch {fetch.fetch} of {fetch.route}"
        yield fetch.provider, fetch.canaries, line


def _seen_by_clients(start: StartHistory) -> Iterator[tuple[tuple[str, ...], str]]:
    """(names of the keys in the answer, the answer in words)."""
    for played in start.rounds:
        for client in played.observations:
            line = f"nonce {client.nonce}, {witness.client_line(played, client)}"
            yield client.secrets, f"{_round(played)}: {line}"
        for asked in played.lists:
            yield asked.secrets, f"{_round(played)}: {witness.list_line(played, asked)}"


def _round(played: PlayedRound) -> str:
    return f"round {played.round.round} ({played.round.scenario})"


def _witness(start: StartHistory, told: str, line: str) -> Witness:
    return Witness(
        sentence=f"A key left its home: {told}.",
        facts=(
            f"start {start.info.name}",
            line,
            "by the key's own characters, in the head, the address or the body",
        ),
    )


def _needs_own(promises: Promises) -> str:
    if promises.keys == "passthrough":
        return "the client's key is promised to be passed on"
    return ""


CHECKS = (
    Check(
        id=_ID,
        needs=_needs_own,
        scenarios=("keys", "smoke"),
        plays=("keys",),
        judge=stay_home,
        promised="Each provider's key goes to that provider only, the client's key to none, and no "
        "client ever sees a provider's key.",
        proved="A key of this run, by its own characters, in a request to a provider whose it is "
        "not, or a provider's in the head or body of what a client was sent.",
        doubt="In the router's favour: a masked or encoded key is not recognised. Inconclusive "
        "unless some provider saw its own key; not judged for a router that was running already, "
        "whose keys are not known.",
        bug="Headers of the client or of the first provider are used again for the next one, or "
        "quoted in an error: maximhq/bifrost #3954, BerriAI/litellm #14371 and #16667, "
        "NVIDIA-NeMo/nemo-platform PR #1589.",
        fix="Build the upstream headers anew for each call from an allow-list, and never put a "
        "request into an error's text.",
    ),
)
