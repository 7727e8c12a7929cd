"""The model lists: their current epochs, and how fetches are scripted.

A fetch gets the epoch that was current when it arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from fake_providers.calls.recorder import OpenFetch, Recorder
from fake_providers.http.answers import WholeAnswer, whole_answer
from fake_providers.http.exchange import Exchange
from fake_providers.prompt.instances import is_about
from fake_providers.records.clock import Clock

Nonsense = Literal["text", "shape", "empty", "half"]
"""Text that is not JSON; JSON that is not a list; an empty body; half of the list."""


@dataclass(slots=True, kw_only=True)
class ListState:
    """How the list of one provider is served."""

    epoch: int = 0
    hold_next: int = 0
    delay_s: float = 0.0
    status: int | None = None
    nonsense: Nonsense | None = None
    moving: bool = False
    """The epoch increases by one after every fetch."""


class ModelLists:
    """The lists of all providers."""

    def __init__(self, *, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._stamp = clock.stamp
        self.states = {provider: ListState() for provider in recorder.providers}

    async def serve(
        self,
        exchange: Exchange,
        *,
        provider: str,
        route: str,
        compose: Callable[[int, int | None], WholeAnswer],
        canaries: tuple[str, ...] = (),
    ) -> None:
        """Answer one fetch; ``compose`` makes the answer from its epoch and the scripted status."""
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
        exchange.on_disconnect = lambda: self._peer_disconnected(fetch)
        if fetch.held:
            state.hold_next -= 1
            while not fetch.released and not exchange.disconnected:
                await exchange.wait()
        if state.delay_s:
            await exchange.wait_until(fetch.read_ns + round(state.delay_s * 1e9))
        if exchange.disconnected:
            return
        answer = compose(fetch.epoch, state.status)
        if state.nonsense is not None and answer.finished:
            answer = _nonsense(answer, state.nonsense)
        message = await exchange.prepare(answer.status, answer.headers, answer.body)
        if exchange.disconnected:
            return
        inner_end_ns = self._stamp()
        exchange.send_prepared(answer.status, message, len(answer.body))
        self._recorder.end_fetch(
            fetch, inner_end_ns=inner_end_ns, outer_end_ns=self._stamp(), answered=True
        )

    def release(self, provider: str | None) -> int:
        """Release the held fetches of one provider, or of all. Returns how many that were."""
        for name, state in self.states.items():
            if is_about(provider, name):
                state.hold_next = 0
        chosen = [fetch for fetch in self._held() if is_about(provider, fetch.provider)]
        for fetch in chosen:
            fetch.released = True
            fetch.exchange.wake()
        return len(chosen)

    def reset(self) -> None:
        """Release all, remove delays and errors; the epochs stay."""
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

    def _peer_disconnected(self, fetch: OpenFetch) -> None:
        seen_ns = fetch.exchange.peer_closed_ns
        assert seen_ns is not None
        self._recorder.end_fetch(fetch, inner_end_ns=seen_ns, outer_end_ns=seen_ns, answered=False)


def _nonsense(answer: WholeAnswer, kind: Nonsense) -> WholeAnswer:
    """The same answer with a body that no client can parse as a list."""
    body = {
        "text": b"<html><body>Welcome to nginx!</body></html>",
        "shape": b'{"object":7,"data":{"id":[]},"models":"none"}',
        "empty": b"",
        "half": answer.body[: len(answer.body) // 2],
    }[kind]
    content_type = dict(answer.headers)[b"content-type"]
    return replace(whole_answer(answer.status, content_type, body), finished=True)
