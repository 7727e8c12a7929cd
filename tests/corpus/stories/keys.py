"""Stories of the keys."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.corpus.builder import Start, route
from tests.corpus.registry import Story, bad, good

ROUTES = (route("openai"), route("ollama"))


def keys(start: Start, **canaries: tuple[str, ...]) -> int:
    """Two answers of each provider, every call with the keys named for it; the round."""
    number = start.round("keys", 0, 10, part="answers")
    for index, provider in enumerate(("openai", "ollama") * 2):
        start.exchange(number, sent=index, end=index + 0.5, provider=provider)
        carried = canaries.get(provider, (f"{provider}_key",))
        change(start.evidence, -1, canaries=carried)
    return number


def change(records: list[Any], index: int, **fields: Any) -> None:
    """The same record with other fields."""
    records[index] = msgspec.structs.replace(records[index], **fields)


@good("keys-at-home")
def at_home() -> Story:
    """With a list, an error, and a client that is shown its own key."""
    start = Start()
    number = keys(start)
    start.fetch(5, 5.1)
    change(start.evidence, -1, canaries=("openai_key",))
    start.ask_list(number, 4.9, 5.2)
    nonce = start.nonce()
    start.call(nonce, read=6, end=6.1, status=401, pieces=0)
    change(start.evidence, -1, canaries=("openai_key",))
    start.client(nonce, number, sent=5.9, end=6.2, outcome="refused", status=401)
    change(start.observations, -1, secrets=("client_key",))
    return (start,), {"selected": ("keys/stay-home",), "routes": ROUTES}


@good("keys-of-one-provider-only")
def of_one_provider() -> Story:
    """Ollama needs no key, and gets none."""
    start = Start()
    keys(start, ollama=())
    return (start,), {"selected": ("keys/stay-home",), "routes": ROUTES}


@bad("keys/stay-home")
def key_shown() -> Story:
    start = Start()
    number = keys(start)
    nonce = start.nonce()
    start.call(nonce, read=6, end=6.1, status=401, pieces=0)
    start.client(nonce, number, sent=5.9, end=6.2, outcome="refused", status=401)
    change(start.observations, -1, secrets=("openai_key",))
    return (start,), {"routes": ROUTES}
