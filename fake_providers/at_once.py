"""A whole answer in one write, past the general way of the server.

Decides when that may be done and what it leaves of the server's own state: the same as if head
and body had been sent one after the other, each looked through and written by itself, which costs
more than everything else that is done for a short answer. Refuses to know what is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

try:
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
except ImportError:  # The slow parser is installed alone: everything goes the general way.
    STATUS_LINE, RequestResponseCycle = {}, None  # type: ignore[assignment, misc]


def write_at_once(
    send: Callable[[Any], Awaitable[None]],
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> bool:
    """Write the answer, if this connection is ready for it. False: nothing was done.

    ``headers`` are ours, so nobody looks through them: they hold the length of ``body``, and
    neither ``connection`` nor ``transfer-encoding``.
    """
    cycle = getattr(send, "__self__", None)
    if (
        type(cycle) is not RequestResponseCycle
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.access_log
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    lines = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        lines += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", body)
    cycle.transport.write(b"".join(lines))
    cycle.waiting_for_100_continue = False
    cycle.response_started = cycle.response_complete = True
    cycle.chunked_encoding, cycle.expected_content_length = False, 0
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
