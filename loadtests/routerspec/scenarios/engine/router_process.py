"""The router's process, as a scenario sees it: signalled, reloaded, exited.

Decides what is recorded of it. The process that started the load does it: it is asked over the
load's standard output, and replies over its standard input.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final, Literal

import gevent
import gevent.socket
import msgspec

from fake_providers.records.ledger import Ledger
from routerspec.errors import HarnessError
from routerspec.records.observations import Disturbance, Disturbed, RouterExit, RouterSignal
from routerspec.records.router_process import Ask, Reply, read_reply

_REPLY_WITHIN_S: Final = 80.0
"""The command that reloads the router included, and a replica that becomes ready again."""

Asks = Callable[[Ask], Reply]


def nobody(_ask: Ask) -> Reply:
    """In the place of the process that started the load, where the router is not its own."""
    raise HarnessError("The router's process belongs to nobody here: it cannot be signalled.")


class Channel:
    """Questions to the process that started this one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """``say`` writes a line that it reads."""
        self._say = say
        self._unread = b""

    def __call__(self, ask: Ask) -> Reply:
        """Ask, and wait for the reply. Raises HarnessError where there is none."""
        self._say(msgspec.json.encode(ask).decode())
        none = HarnessError(f"No reply to {ask.what!r} from the process that started the load.")
        with gevent.Timeout(_REPLY_WITHIN_S, none):
            while b"\n" not in self._unread:
                gevent.socket.wait_read(sys.stdin.fileno())
                read = os.read(sys.stdin.fileno(), 1 << 16)
                if not read:
                    raise none
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return read_reply(line)


class RouterProcess:
    """The router's process. Every method raises HarnessError where it cannot be reached."""

    def __init__(self, asks: Asks, log: Ledger) -> None:
        self._asks, self._log = asks, log

    def drain(self, round_number: int) -> RouterSignal:
        """Send it the signal to drain."""
        return self._signalled(round_number, "drain", Ask(what="drain"))

    def reload(self, round_number: int, cap: int | None) -> RouterSignal:
        """Write its files anew, with this cap, and have it read them."""
        return self._signalled(round_number, "reload", Ask(what="reload", cap=cap))

    def disturb(
        self, round_number: int, what: Disturbed, *, replica: int = 0, service: str = ""
    ) -> Disturbance:
        """Disturb a replica of it (0: all), or a service; returns once that is seen to be done."""
        done = self._asked(Ask(what=what, replica=replica, service=service))
        record = Disturbance(
            round=round_number,
            what=what,
            replica=replica,
            service=service,
            before_ns=done.before_ns,
            after_ns=done.after_ns,
        )
        self._log.append(record)
        return record

    def has_exited(self) -> bool:
        """Whether it has exited by now."""
        return self._asked(Ask(what="state")).exited_ns is not None

    def note_exit(self, round_number: int) -> None:
        """Record whether it has exited, and how."""
        now = self._asked(Ask(what="state"))
        at_ns = now.after_ns if now.exited_ns is None else now.exited_ns
        self._log.append(RouterExit(round=round_number, at_ns=at_ns, status=now.exit_status))

    def _signalled(
        self, round_number: int, what: Literal["drain", "reload"], ask: Ask
    ) -> RouterSignal:
        done = self._asked(ask)
        record = RouterSignal(
            round=round_number,
            what=what,
            pid=done.pid,
            before_ns=done.before_ns,
            after_ns=done.after_ns,
            signal=done.signal,
            command_status=done.command_status,
            cap=done.cap,
        )
        self._log.append(record)
        return record

    def _asked(self, ask: Ask) -> Reply:
        reply = self._asks(ask)
        if reply.fault:
            raise HarnessError(reply.fault)
        return reply
