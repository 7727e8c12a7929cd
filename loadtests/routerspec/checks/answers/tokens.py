"""The text of an answer: whether it is whole, and whose it is.

A whole answer is the row ``17@openai-42#0 17@openai-42#1 ... 17@openai-42#end2-CHECKSUM`` of one
call of that nonce, exactly (``fake_providers.prompt.directives``). Direction of doubt: text that no
provider sent may stand around it (a router may add a preface or sources), and an agent may show the
whole answers of several of its calls; a token tells of another client only if the evidence has that
very call with that very nonce, so that joined or truncated digits accuse nobody.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from fake_providers.prompt import directives
from fake_providers.prompt.instances import WORD
from fake_providers.records.evidence import Call
from routerspec.history.history import StartHistory
from routerspec.records.columns import Clients, Flags, Rows
from routerspec.records.observations import Observation

_TOKEN: Final = re.compile(
    rf"(\d{{1,15}})@({WORD})-(\d{{1,15}})#(?:end(\d{{1,6}})-([0-9a-f]{{8}})|\d{{1,6}})"
)
_EMBEDDING: Final = re.compile(r"embedding:(\d{1,15})\Z")

UNREADABLE: Final = "embedding:?"


def just_whole(start: StartHistory, clients: Rows[Observation]) -> Flags:
    """Clients whose text is the whole answer of their one call and nothing else: the usual case.

    False proves nothing: then ``stranger``, ``own_tokens`` and ``whole`` decide.
    """
    found = np.zeros(len(clients), np.bool_)
    for part, some in clients.pieces():
        found[part] = _just_whole(start, some)
    return found


def _just_whole(start: StartHistory, clients: Rows[Observation]) -> Flags:
    columns = clients.columns
    assert isinstance(columns, Clients)
    nonces = clients.numbers("nonce")
    calls = Rows(start.calls.columns, start.calls_of.first(nonces))
    one: Flags = start.calls_of.counts(nonces) == 1
    its, answers = calls.only(one), columns.answers(clients.rows[one])
    codes = np.array([columns.provider(name) for name in its.columns.values("provider")])
    one[one] = (
        (answers[:, 2] > 0)
        & (answers[:, 1] == its.numbers("call"))
        & (answers[:, 0] == codes[its.numbers("provider")])
    )
    return one


def stranger(start: StartHistory, client: Observation) -> Call | int | None:
    """The call of another client whose token stands in the text, or its nonce for an embedding.

    None where every token is the client's own, or cannot be attributed to another.
    """
    vector = _EMBEDDING.match(client.text)
    if vector:
        nonce = int(vector[1])
        known = nonce in start.observed and nonce in start.calls_of
        return nonce if known and nonce != client.nonce else None
    for nonce, provider, number, _, _ in _TOKEN.findall(client.text):
        call = start.call_at.get((provider, int(number)))
        if call and client.nonce not in call.nonces and int(nonce) in call.nonces:
            return call
    return None


def own_tokens(client: Observation) -> bool:
    """The text has a token of the client's own nonce."""
    vector = _EMBEDDING.match(client.text)
    if vector:
        return int(vector[1]) == client.nonce
    return any(int(found[0]) == client.nonce for found in _TOKEN.findall(client.text))


def given(start: StartHistory, client: Observation) -> bool:
    """The text has a token of a call that was made for this client."""
    vector = _EMBEDDING.match(client.text)
    if vector:
        return int(vector[1]) == client.nonce and client.nonce in start.calls_of
    return any(
        int(nonce) in call.nonces and client.nonce in call.nonces
        for nonce, provider, number, _, _ in _TOKEN.findall(client.text)
        if (call := start.call_at.get((provider, int(number)))) is not None
    )


def forged(start: StartHistory, client: Observation) -> bool:
    """The text has the closing token of an answer to this client by a call that was never made.

    Its checksum is right, which neither truncated nor joined digits are.
    """
    vector = _EMBEDDING.match(client.text)
    if vector:
        return int(vector[1]) == client.nonce and client.nonce not in start.calls_of
    return any(
        int(nonce) == client.nonce
        and client.nonce not in getattr(start.call_at.get((name, int(number))), "nonces", ())
        and checksum
        == directives.checksum(start.info.token, client.nonce, name, int(number), int(count))
        for nonce, name, number, count, checksum in _TOKEN.findall(client.text)
        if count
    )


def shown(start: StartHistory, client: Observation) -> list[Call]:
    """The calls made for the client of which any token stands in its text."""
    numbers = {(provider, int(number)) for _, provider, number, _, _ in _TOKEN.findall(client.text)}
    calls = (start.call_at.get(number) for number in sorted(numbers))
    return [call for call in calls if call is not None and client.nonce in call.nonces]


def whole(start: StartHistory, client: Observation) -> bool:
    """The text is the whole answer of a call of the client's nonce, with no broken token beside."""
    if client.mode == "embeddings":
        vector = _EMBEDDING.match(client.text)
        return bool(vector) and own_tokens(client)
    rest = client.text
    found = False
    for nonce, provider, number, count, checksum in _TOKEN.findall(client.text):
        call = start.call_at.get((provider, int(number)))
        if (
            not count
            or int(nonce) != client.nonce
            or call is None
            or client.nonce not in call.nonces
        ):
            continue
        if checksum != directives.checksum(
            start.info.token, client.nonce, provider, call.call, int(count)
        ):
            return False
        answer = directives.answer(start.info.token, client.nonce, provider, call.call, int(count))
        if rest.count(answer) != 1:
            return False
        rest = rest.replace(answer, "")
        found = True
    return found and not _TOKEN.search(rest)


def excerpt(client: Observation) -> str:
    """The text, or its beginning and end, for a witness."""
    if len(client.text) <= 160:
        return f"its text: {client.text!r}"
    return (
        f"its text ({len(client.text)} characters): {client.text[:80]!r} ... {client.text[-70:]!r}"
    )
