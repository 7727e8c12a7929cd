"""How an answer fails to reach its finish: one small function for each way.

Decides what the peer gets to see last, and that the inner end is stamped just before it. Refuses
to know what was sent before, and when an ending is due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fake_providers.calls.recorder import OpenCall, Recorder
from fake_providers.http.answers import Stream
from fake_providers.prompt.behaviour import Ending

Stamp = Callable[[], int]
End = Callable[[OpenCall, Recorder, Stamp], Awaitable[None]]


async def cut(call: OpenCall, recorder: Recorder, stamp: Stamp) -> None:
    """Reset the connection (RST)."""
    await _close(call, recorder, stamp, call.exchange.cut)


async def fin(call: OpenCall, recorder: Recorder, stamp: Stamp) -> None:
    """Close the connection in order (FIN), in the middle of the answer."""
    await _close(call, recorder, stamp, call.exchange.hang_up)


async def stall(call: OpenCall, recorder: Recorder, stamp: Stamp) -> None:
    """Send nothing more. The record is written when the peer has had enough."""
    while not call.exchange.gone:
        await call.exchange.wait()


async def clean(call: OpenCall, recorder: Recorder, stamp: Stamp) -> None:
    """End the body in order, without a finish marker."""
    await last(call, recorder, stamp, b"")


async def last(call: OpenCall, recorder: Recorder, stamp: Stamp, data: bytes) -> None:
    """End the body in order with these bytes, which are no finish marker."""
    inner_end_ns = stamp()
    await call.exchange.body(data, last=True)
    recorder.end(call, "fake", inner_end_ns=inner_end_ns, outer_end_ns=stamp())


async def _close(
    call: OpenCall, recorder: Recorder, stamp: Stamp, close: Callable[[], None]
) -> None:
    await call.exchange.flush()
    if call.exchange.gone:
        return
    now = stamp()
    close()
    recorder.end(call, "cut", inner_end_ns=now, outer_end_ns=stamp())


SILENT: Final[dict[str, End]] = {"cut": cut, "fin": fin, "stall": stall}
"""Those that need no word of the answer, so that they may come before its head."""


async def end_stream(
    name: Ending, answer: Stream, call: OpenCall, recorder: Recorder, stamp: Stamp
) -> None:
    """End a stream that has begun."""
    if name == "error":
        await last(call, recorder, stamp, answer.failure())
    else:
        await {**SILENT, "clean": clean}[name](call, recorder, stamp)
