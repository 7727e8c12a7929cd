"""The model lists: what stands in them now, and how a fetch of one is steered.

Decides that a fetch carries the epoch as it stood when it arrived, and which fetches are held.
Refuses to know the shape of a list in any dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from fake_providers.calls.recorder import PROVIDERS, OpenFetch, Recorder
from fake_providers.http.answers import Whole, whole
from fake_providers.http.exchange import Exchange
from fake_providers.records.clock import Clock

Nonsense = Literal["text", "shape", "empty", "half"]
"""Words that are no JSON; JSON that is no list; nothing at all; the list broken off."""


@dataclass(slots=True, kw_only=True)
class ListState:
    """How one provider's list is served."""

    epoch: int = 0
    hold_next: int = 0
    delay_s: float = 0.0
    status: int | None = None
    nonsense: Nonsense | None = None
    moving: bool = False
    """The epoch goes up by one after every fetch."""


class Lists:
    """The lists of all providers."""

    def __init__(self, *, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._stamp = clock.stamp
        self.states = {provider: ListState() for provider in PROVIDERS}

    async def serve(
        self,
        exchange: Exchange,
        *,
        provider: str,
        route: str,
        compose: Callable[[int, int | None], Whole],
        canaries: tuple[str, ...] = (),
    ) -> None:
        """Answer one fetch; ``compose`` gets its epoch and the error status that is wanted."""
        state = self.states[provider]
        fetch = OpenFetch(
            exchange=exchange,
            provider=provider,
            fetch=self._recorder.next_fetch(provider),
            route=route,
            epoch=state.epoch,
            read_ns=self._stamp(),
            held=state.hold_next > 0,
            canaries=canaries,
        )
        state.epoch += state.moving
        self._recorder.begin_fetch(fetch)
        exchange.on_close = lambda: self._peer_left(fetch)
        if fetch.held:
            state.hold_next -= 1
            while not fetch.released and not exchange.gone:
                await exchange.wait()
        if state.delay_s:
            await exchange.wait_until(fetch.read_ns + round(state.delay_s * 1e9))
        if exchange.gone:
            return
        answer = compose(fetch.epoch, state.status)
        if state.nonsense is not None and answer.finished:
            answer = _nonsense(answer, state.nonsense)
        message = await exchange.prepare(answer.status, answer.headers, answer.body)
        if exchange.gone:
            return
        inner_end_ns = self._stamp()
        exchange.whole(answer.status, message, len(answer.body))
        self._recorder.end_fetch(
            fetch, inner_end_ns=inner_end_ns, outer_end_ns=self._stamp(), answered=True
        )

    def release(self, provider: str | None) -> int:
        """Let the held fetches of one provider, or of all, go. Returns how many those were."""
        for name, state in self.states.items():
            if provider in {None, name}:
                state.hold_next = 0
        chosen = [fetch for fetch in self._held() if provider in {None, fetch.provider}]
        for fetch in chosen:
            fetch.released = True
            fetch.exchange.wake()
        return len(chosen)

    def reset(self) -> None:
        """Nothing held, no delay, no error; the epochs stay."""
        self.release(None)
        for state in self.states.values():
            state.delay_s = 0.0
            state.status = None
            state.nonsense = None
            state.moving = False

    def snapshot(self) -> dict[str, dict[str, int | None]]:
        """The lists part of ``/control/now``."""
        held = [fetch.provider for fetch in self._held()]
        unanswered = [fetch.provider for fetch in self._recorder.fetches]
        return {
            provider: {
                "fetches": self._recorder.fetched[provider],
                "open": unanswered.count(provider),
                "held": held.count(provider),
                "answered": self._recorder.answered[provider],
                "last_answered_ns": self._recorder.last_answered_ns[provider],
                "epoch": state.epoch,
            }
            for provider, state in self.states.items()
        }

    def _held(self) -> list[OpenFetch]:
        return [fetch for fetch in self._recorder.fetches if fetch.held and not fetch.released]

    def _peer_left(self, fetch: OpenFetch) -> None:
        seen_ns = fetch.exchange.peer_closed_ns
        assert seen_ns is not None
        self._recorder.end_fetch(fetch, inner_end_ns=seen_ns, outer_end_ns=seen_ns, answered=False)


def _nonsense(answer: Whole, kind: Nonsense) -> Whole:
    """The same answer with a body of which no client can make a list."""
    body = {
        "text": b"<html><body>Welcome to nginx!</body></html>",
        "shape": b'{"object":7,"data":{"id":[]},"models":"none"}',
        "empty": b"",
        "half": answer.body[: len(answer.body) // 2],
    }[kind]
    content_type = dict(answer.headers)[b"content-type"]
    return replace(whole(answer.status, content_type, body), finished=True)
