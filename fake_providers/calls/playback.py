"""One call being answered: its behaviour carried out step by step, its record's stamps taken.

The order is: hold, wait for the time to first token, head, first piece, hold, more pieces, then
the finish or another ending. An inner end is stamped just before the first byte from which the
router can tell that the exchange is over or has failed. An ending counts pieces. A whole answer is
one piece: ``cut``, and any ending after 0, comes before its head; the others stop in the middle of
its body. An end without a finish marker (``clean``) and an error event are for streams only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from fake_providers.calls.admission import Admission
from fake_providers.calls.gates import Gates
from fake_providers.calls.recorder import OpenCall, Recorder
from fake_providers.http.answers import Stream, WholeAnswer, with_body, with_length
from fake_providers.pacing.pace import Pace
from fake_providers.prompt.behaviour import Behaviour, Ending
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import EndedBy

YIELD_EVERY: Final = 64
"""An unpaced stream lets other calls run after this many pieces."""
SILENT: Final = frozenset({"cut", "fin", "stall"})
"""The endings that send nothing, so they may come before the head."""


class Playback:
    """One call being answered. Not reusable."""

    __slots__ = ("_behaviour", "_call", "_exchange", "_gates", "_recorder", "_stamp")

    def __init__(
        self,
        call: OpenCall,
        behaviour: Behaviour,
        *,
        recorder: Recorder,
        gates: Gates,
        clock: Clock,
    ) -> None:
        self._call = call
        self._exchange = call.exchange
        self._behaviour = behaviour
        self._recorder = recorder
        self._gates = gates
        self._stamp = clock.stamp

    async def play(
        self, compose: Callable[[], Stream | WholeAnswer], admission: Admission | None
    ) -> None:
        """Answer the call, whose whole request was just read, and record it.

        ``compose`` makes the answer when it is due; ``admission`` admits a call that has a pace.
        """
        self._recorder.begin(self._call)
        self._exchange.on_disconnect = self._disconnected
        if admission is None:
            await self._answer(compose)
            return
        async with admission.admitted(self._call):
            if not self._exchange.disconnected:
                await self._answer(compose)

    async def _answer(self, compose: Callable[[], Stream | WholeAnswer]) -> None:
        call, behaviour = self._call, self._behaviour
        held_at = behaviour.holds_at(stream=call.stream)
        if held_at == "head":
            await self._gates.hold(call, "head")
        if call.pace is not None:
            await self._await_first(call.pace, held=held_at == "head")
        elif behaviour.first_s:
            await self._wait_until(call.read_ns + round(behaviour.first_s * 1e9))
        if self._exchange.disconnected:
            return
        if behaviour.stall == 0:
            await self._stall()
            return
        answer = compose()
        if isinstance(answer, Stream):
            await self._stream(answer)
        elif behaviour.irregular and not answer.refused:
            await self._irregular_whole(answer)
        else:
            await self._whole(answer)

    async def _await_first(self, pace: Pace, *, held: bool) -> None:
        await self._wait_until(pace.first_due_ns())
        if held:
            pace.resume(self._stamp())
        while not self._call.stream and (due_ns := pace.stride_due_ns()) is not None:
            await self._wait_until(due_ns)
            if self._exchange.disconnected:
                return

    # -- whole answers -----------------------------------------------------------------------

    async def _whole(self, answer: WholeAnswer) -> None:
        """Send the answer at once."""
        call, exchange = self._call, self._exchange
        message = await exchange.prepare(answer.status, answer.headers, answer.body)
        if exchange.disconnected:
            return
        inner_end_ns = self._stamp()
        exchange.send_prepared(answer.status, message, len(answer.body))
        call.head_ns = self._stamp()
        self._record_whole(answer, inner_end_ns, call.head_ns)

    async def _irregular_whole(self, answer: WholeAnswer) -> None:
        """Send an answer that is held, halved, split, cut or of a wrong Content-Length."""
        call, behaviour, exchange = self._call, self._behaviour, self._exchange
        ending, after = behaviour.ending or (None, 0)
        if ending == "cut" or (ending in SILENT and not after):
            await self._end_early(ending)
            return
        answer = _misshapen(answer, behaviour)
        call.end_visible_ns = self._stamp()
        await exchange.head(answer.status, answer.headers)
        call.head_ns = self._stamp()
        if behaviour.hold == "open":
            await self._gates.hold(call, "open")
        if behaviour.length:
            exchange.raw(answer.body)
            await self._end_early("fin")
            return
        if ending in SILENT:
            await self._send(answer.body[: len(answer.body) // 2])
            await self._end_early(ending)
            return
        await self._send(answer.body[:-1])
        if behaviour.hold == "end":
            await self._gates.hold(call, "end")
        if exchange.disconnected:
            return
        await exchange.body(answer.body[-1:], last=True)
        if exchange.disconnected:
            return
        self._record_whole(answer, call.end_visible_ns, self._stamp())

    def _record_whole(self, answer: WholeAnswer, inner_end_ns: int, outer_end_ns: int) -> None:
        call = self._call
        call.finished = answer.finished
        if answer.finished:
            call.first_ns, call.pieces = outer_end_ns, 1
        self._recorder.end(call, "fake", inner_end_ns=inner_end_ns, outer_end_ns=outer_end_ns)

    # -- streams -----------------------------------------------------------------------------

    async def _stream(self, answer: Stream) -> None:
        call, behaviour, exchange = self._call, self._behaviour, self._exchange
        ending, after = behaviour.ending or (None, None)
        malformed_at = behaviour.malformed
        if after != 0:
            await self._pieces(answer, after)
        elif ending not in SILENT:
            await self._begin(answer)
        if exchange.disconnected:
            return
        if malformed_at is not None and malformed_at >= call.pieces and ending not in SILENT:
            await self._malformed(answer)
        if behaviour.hold == "end":
            await self._hold("end")
        if exchange.disconnected:
            return
        if ending is not None:
            await self._end_early(ending, answer)
        else:
            await self._finish(answer)

    async def _pieces(self, answer: Stream, most: int | None) -> None:
        call, behaviour, exchange = self._call, self._behaviour, self._exchange
        hold_after = behaviour.hold_piece
        gap_ns = round(behaviour.gap_s * 1e9)
        before = answer.comment * behaviour.comments
        base_ns = self._stamp()
        for number, data in enumerate(answer.pieces):
            if number and (call.pace or gap_ns):
                due_ns = call.pace.next_due_ns() if call.pace else base_ns + number * gap_ns
                await self._wait_until(due_ns)
            elif number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
            if number == 0:
                await self._begin(answer)
            if number == behaviour.malformed:
                await self._malformed(answer)
            await self._send(before + data)
            if exchange.disconnected:
                return
            call.pieces += 1
            if number == 0:
                call.first_ns = self._stamp()
            if call.pieces == hold_after:
                await self._hold("first" if behaviour.hold == "first" else "piece")
                base_ns = self._stamp() - number * gap_ns
                if exchange.disconnected:
                    return
            if call.pieces == most:
                return
        if not call.pieces:
            await self._begin(answer)

    async def _begin(self, answer: Stream) -> None:
        await self._exchange.head(200, answer.headers)
        self._call.head_ns = self._stamp()
        if self._behaviour.hold == "open":
            await self._hold("open")
        if answer.opening:
            await self._send(answer.opening)

    async def _malformed(self, answer: Stream) -> None:
        self._call.end_visible_ns = self._stamp()
        await self._exchange.body(answer.malformed, last=False)

    async def _finish(self, answer: Stream) -> None:
        behaviour = self._behaviour
        data = answer.finish()
        if behaviour.comments:
            data = answer.comment * behaviour.comments + data
        if not behaviour.newline:
            data = data.rstrip(b"\r\n")
        inner_end_ns = self._stamp()
        if behaviour.split:
            await self._send(data[:-1])
            data = data[-1:]
        await self._exchange.body(data, last=True)
        if self._exchange.disconnected:
            return
        self._call.finished = True
        self._record_end("fake", inner_end_ns)

    # -- endings without a finish ------------------------------------------------------------

    async def _end_early(self, ending: Ending, stream: Stream | None = None) -> None:
        """End the answer so that it fails; ``stream`` where it is one."""
        match ending:
            case "cut":
                await self._close(self._exchange.reset)
            case "fin":
                await self._close(self._exchange.close)
            case "stall":
                await self._stall()
            case "clean":
                await self._last(b"")
            case "error":
                assert stream is not None
                await self._last(stream.failure())

    async def _close(self, close: Callable[[], None]) -> None:
        await self._exchange.flush()
        if self._exchange.disconnected:
            return
        inner_end_ns = self._stamp()
        close()
        self._record_end("cut", inner_end_ns)

    async def _stall(self) -> None:
        """Send nothing more. The record is written when the router disconnects."""
        while not self._exchange.disconnected:
            await self._exchange.wait()

    async def _last(self, data: bytes) -> None:
        """End the body in order with these bytes, which are no finish marker."""
        inner_end_ns = self._stamp()
        await self._exchange.body(data, last=True)
        self._record_end("fake", inner_end_ns)

    # -- waiting and sending -----------------------------------------------------------------

    async def _send(self, data: bytes) -> None:
        """Send a part of the body, in parts of ``split`` bytes where that is scripted."""
        split = self._behaviour.split
        if not split:
            await self._exchange.body(data, last=False)
            return
        for start in range(0, len(data), split):
            await self._exchange.body(data[start : start + split], last=False)
            if self._exchange.disconnected:
                return
            await asyncio.sleep(0)

    async def _hold(self, at: str) -> None:
        await self._gates.hold(self._call, at)
        if self._call.pace is not None:
            self._call.pace.resume(self._stamp())

    async def _wait_until(self, due_ns: int) -> None:
        late_ns = await self._exchange.wait_until(due_ns)
        if not self._exchange.disconnected:
            self._recorder.metrics.record_lateness(late_ns)
        self._call.late_ns = max(self._call.late_ns, late_ns)

    def _record_end(self, ended_by: EndedBy, inner_end_ns: int) -> None:
        outer_end_ns = self._stamp()
        self._recorder.end(
            self._call, ended_by, inner_end_ns=inner_end_ns, outer_end_ns=outer_end_ns
        )

    def _disconnected(self) -> None:
        seen_ns = self._exchange.peer_closed_ns
        assert seen_ns is not None
        self._gates.remove(self._call)
        self._recorder.end(self._call, "peer", inner_end_ns=seen_ns, outer_end_ns=seen_ns)


def _misshapen(answer: WholeAnswer, behaviour: Behaviour) -> WholeAnswer:
    """The answer with half of its body, or with a wrong Content-Length, where that is scripted."""
    if behaviour.malformed is not None:
        half = with_body(answer, answer.body[: len(answer.body) // 2])
        answer = replace(half, finished=False)
    if behaviour.length:
        length = max(0, len(answer.body) + behaviour.length)
        answer = replace(with_length(answer, length), finished=False)
    return answer
