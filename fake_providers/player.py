"""The player: carries out what a call was told, and takes the stamps of its record.

Decides the order of things: hold, wait, head, first piece, hold, pieces, finish; and that an
inner end is stamped just before the first byte from which the end can be told. Refuses to know
dialects: it gets its bytes from an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from fake_providers.answers import Stream, Whole
from fake_providers.behaviour import Behaviour
from fake_providers.clock import Clock
from fake_providers.desk import Desk
from fake_providers.gates import Gates
from fake_providers.pace import Pace
from fake_providers.recorder import OpenCall, Recorder

BREATH: Final = 64
"""An unpaced stream lets others run after so many pieces."""


class Player:
    """Plays calls; keeps nothing of its own."""

    def __init__(
        self, *, recorder: Recorder, gates: Gates, clock: Clock, desks: Mapping[str, Desk]
    ) -> None:
        self._recorder = recorder
        self._gates = gates
        self._desks = desks
        self._stamp = clock.stamp

    async def play(
        self, call: OpenCall, behaviour: Behaviour, compose: Callable[[], Stream | Whole]
    ) -> None:
        """Answer ``call``, whose whole request was just read, and record it."""
        self._recorder.begin(call)
        call.exchange.on_close = lambda: self._peer_left(call)
        if call.pace is None:
            await self._answer(call, behaviour, compose)
            return
        async with self._desks[call.provider].admitted(call):
            if not call.exchange.gone:
                await self._answer(call, behaviour, compose)

    async def _answer(
        self, call: OpenCall, behaviour: Behaviour, compose: Callable[[], Stream | Whole]
    ) -> None:
        held_at = behaviour.holds_at(stream=call.stream)
        if held_at == "head":
            await self._gates.hold(call, "head")
        if call.pace is not None:
            await self._await_first(call, call.pace, held=held_at == "head")
        elif behaviour.first_s:
            await self._pace(call, call.read_ns + round(behaviour.first_s * 1e9))
        if call.exchange.gone:
            return
        answer = compose()
        if isinstance(answer, Stream):
            await self._stream(call, behaviour, answer)
        elif answer.finished and behaviour.cut is not None:
            await self._cut(call)
        else:
            await self._whole(call, answer)

    async def _await_first(self, call: OpenCall, pace: Pace, *, held: bool) -> None:
        await self._pace(call, pace.first_due_ns())
        if held:
            pace.resume(self._stamp())
        while not call.stream and (due_ns := pace.stride_due_ns()) is not None:
            await self._pace(call, due_ns)
            if call.exchange.gone:
                return

    async def _whole(self, call: OpenCall, answer: Whole) -> None:
        inner_end_ns = self._stamp()
        await call.exchange.head(answer.status, answer.headers)
        call.head_ns = self._stamp()
        await call.exchange.body(answer.body, last=True)
        outer_end_ns = self._stamp()
        if answer.finished:
            call.first_ns = outer_end_ns
            call.pieces = 1
        call.finished = answer.finished
        self._recorder.end(call, "fake", inner_end_ns=inner_end_ns, outer_end_ns=outer_end_ns)

    async def _stream(self, call: OpenCall, behaviour: Behaviour, answer: Stream) -> None:
        exchange = call.exchange
        gap_ns = round(behaviour.gap_s * 1e9)
        begun = False
        base_ns = self._stamp()
        for number, data in enumerate(answer.pieces):
            if number == behaviour.cut:
                break
            if number and (call.pace or gap_ns):
                due_ns = call.pace.next_due_ns() if call.pace else base_ns + number * gap_ns
                await self._pace(call, due_ns)
            elif number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            if not begun:
                begun = await self._begin(call, answer)
            await exchange.body(data, last=False)
            if exchange.gone:
                return
            call.pieces += 1
            if number == 0:
                call.first_ns = self._stamp()
                if behaviour.hold == "first":
                    await self._gates.hold(call, "first")
                    base_ns = self._stamp()
                    if call.pace is not None:
                        call.pace.resume(base_ns)
                if exchange.gone:
                    return
        if behaviour.cut is not None:
            await self._cut(call)
        else:
            await self._finish(call, answer)

    async def _begin(self, call: OpenCall, answer: Stream) -> bool:
        await call.exchange.head(200, answer.headers)
        call.head_ns = self._stamp()
        if answer.opening:
            await call.exchange.body(answer.opening, last=False)
        return True

    async def _finish(self, call: OpenCall, answer: Stream) -> None:
        data = answer.finish()
        inner_end_ns = self._stamp()
        await call.exchange.body(data, last=True)
        call.finished = True
        self._recorder.end(call, "fake", inner_end_ns=inner_end_ns, outer_end_ns=self._stamp())

    async def _cut(self, call: OpenCall) -> None:
        await call.exchange.flush()
        if call.exchange.gone:
            return
        now = self._stamp()
        call.exchange.cut()
        self._recorder.end(call, "cut", inner_end_ns=now, outer_end_ns=self._stamp())
        await call.exchange.closed()

    async def _pace(self, call: OpenCall, due_ns: int) -> None:
        late_ns = await call.exchange.wait_until(due_ns)
        if not call.exchange.gone:
            self._recorder.metrics.late(late_ns)
        call.late_ns = max(call.late_ns, late_ns)

    def _peer_left(self, call: OpenCall) -> None:
        seen_ns = call.exchange.peer_closed_ns
        assert seen_ns is not None
        self._gates.leave(call)
        self._recorder.end(call, "peer", inner_end_ns=seen_ns, outer_end_ns=seen_ns)
