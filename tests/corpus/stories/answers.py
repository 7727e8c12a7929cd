"""Stories of the answers."""

from __future__ import annotations

from tests.corpus.builder import Start
from tests.corpus.registry import Story, bad, good


def answers(start: Start, count: int = 20) -> int:
    number = start.round("load", 0, 60)
    for index in range(count):
        start.exchange(number, sent=1.0 * index, end=1.0 * index + 0.5)
    return number


@good("answers-own-and-whole")
def answers_good() -> Story:
    """With an embedding, an agent that shows two of its calls, and a client that left."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    start.call(nonce, read=30, end=30.1, family="embeddings")
    start.client(nonce, number, sent=30, end=30.2, text=f"embedding:{nonce}", mode="embeddings")
    nonce = start.nonce()
    first = start.call(nonce, read=31, end=31.1, body="01")
    second = start.call(nonce, read=31.2, end=31.3, body="02")
    text = f"Plan: {start.whole(nonce, first)}\nDone: {start.whole(nonce, second)}\n"
    start.client(nonce, number, sent=31, end=31.4, text=text, route="agent")
    nonce = start.nonce()
    start.call(nonce, read=32, end=32.1)
    start.client(nonce, number, sent=32, end=32.05, outcome="hung_up", hang_up=32.04, status=None,
                 text=f"{nonce}@openai-23#0 ")  # fmt: skip
    return (start,), {"selected": ("answers/own", "answers/whole")}


@bad("answers/own")
def answers_mixed() -> Story:
    """A client that left had been sent the beginning of another's answer."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    start.call(nonce, read=30, end=30.1, ended_by="peer", peer_closed=30.1)
    start.client(nonce, number, sent=30, end=30.05, outcome="hung_up", hang_up=30.04, status=None,
                 text="3@openai-3#0 3@openai-3#1 ")  # fmt: skip
    return (start,), {}


@bad("answers/whole")
def answers_short() -> Story:
    """A piece is missing in the middle, and the answer says it is finished."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    call = start.call(nonce, read=30, end=30.1)
    text = start.whole(nonce, call).replace(f"{nonce}@openai-{call.call}#2 ", "")
    start.client(nonce, number, sent=30, end=30.2, text=text)
    return (start,), {}
