"""The load processes of a run, as the process sees them that leads it.

Decides which of them belong to the run, which number each has, and what of their records came. One
that is lost (killed, cut off, out of disk) is known to be: what came of its file is kept as it is,
without a footer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gevent
import msgspec

from routerspec import __version__
from routerspec.records.load_plan import LoadPlan
from routerspec.records.load_processes import MOST, observations_file
from routerspec.scenarios.engine.messages import (
    Failed,
    Got,
    Join,
    Kept,
    Link,
    Message,
    Piece,
    Stop,
    Turned,
    Welcome,
    Whole,
)
from routerspec.scenarios.engine.shipping import SILENT_S, Receiver, Silence

NOT_ENDED: Final = "the run did not end"
_LOOK_S: Final = 0.05
_STOP_AGAIN_S: Final = 3.0


class Member:
    """One load process of the run."""

    def __init__(self, join: Join, peer: str, number: int, silence: Silence) -> None:
        self.part = join.part
        self.peer = peer
        """What the link calls it."""
        self.number = number
        self.name = f"{join.host}, process {join.pid}"
        self.silence = silence
        self.receiver: Receiver | None = None
        self.lost = ""
        """Why its file did not come whole: a clause."""
        self.whole = False


class LoadProcesses:
    """Everyone who makes requests for this run, beside the process that leads."""

    def __init__(
        self,
        link: Link,
        plan: LoadPlan,
        host: str,
        folder: Path,
        *,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``plan`` has references in place of keys. ``folder``: of the start, where their files go.
        ``changed`` is called when one more belongs to the run, and when its file is begun.
        """
        self._link = link
        # Nobody but the leader controls the fakes.
        self._plan = msgspec.structs.replace(
            plan, folder="", control="", control_token="", control_further={}, secrets={}
        )
        self._host = host
        self._folder = folder
        self._changed = changed
        self._clock = clock
        self._task: Message | None = None
        self._over = False
        self.members: list[Member] = []
        """Those that belong to the run, in the order of their numbers, which begin with 1."""
        link.on(Join, self._join)
        link.on(Piece, self._add)
        link.on(Whole, self._end)
        link.on(Failed, self._fail)

    @property
    def here(self) -> tuple[int, ...]:
        """Those of which there is a file."""
        return tuple(each.number for each in self.members if each.receiver)

    @property
    def lost(self) -> dict[int, str]:
        """Those whose file is missing or short, and why."""
        return {
            each.number: f"{each.lost or NOT_ENDED} ({each.name})"
            for each in self.members
            if not each.whole
        }

    def send(self, message: Message) -> None:
        """Send to each of them that is not known to be lost."""
        for each in self.members:
            if not each.lost:
                self._link.send(message, each.peer)

    def task(self, message: Message) -> None:
        """Send to each of them, and to each that joins from here on."""
        self._task = message
        self.send(message)

    def heard(self, peer: str) -> None:
        """There was a sign of life."""
        for each in self.members:
            if each.peer == peer:
                each.silence.broken()

    def stop(self) -> None:
        """Have all of them stop."""
        self._over = True
        self.send(Stop(run=self._plan.token))

    def finish(self) -> None:
        """Wait until each file is here or its process is lost. All of them stop."""
        self._over = True
        stop_at = self._clock()
        for each in self.members:
            each.silence.begin()
        while pending := [each for each in self.members if not each.whole and not each.lost]:
            if self._clock() >= stop_at:
                stop_at = self._clock() + _STOP_AGAIN_S
                for each in pending:
                    self._link.send(Stop(run=self._plan.token), each.peer)
            for each in pending:
                if each.silence.too_long():
                    each.lost = f"nothing was heard of it for {SILENT_S:g} s"
            gevent.sleep(_LOOK_S)
        for each in self.members:
            if each.receiver:
                each.receiver.close()

    def _join(self, join: Join, peer: str) -> None:
        member = next((each for each in self.members if each.part == join.part), None)
        if member is None:
            if self._over:
                return
            refusal = self._refusal(join)
            if refusal:
                self._link.send(Turned(part=join.part, reason=refusal), peer)
                return
            member = Member(join, peer, len(self.members) + 1, Silence(self._clock))
            self.members.append(member)
            self._changed()
        welcome = Welcome(
            part=join.part,
            run=self._plan.token,
            process=member.number,
            host=self._host,
            plan=self._plan,
        )
        self._link.send(welcome, peer)
        if self._task:
            self._link.send(self._task, peer)

    def _refusal(self, join: Join) -> str:
        if join.version != __version__:
            return (
                f"It has routerspec {join.version}, and the master has {__version__}: install the "
                "same version on both."
            )
        if len(self.members) >= MOST:
            return f"A run has {MOST} load processes at most: start fewer workers."
        return ""

    def _member(self, process: int, run: str, peer: str) -> Member | None:
        """Who says so, if it is one of this run that is not lost."""
        for each in self.members:
            if each.number == process and each.peer == peer and run == self._plan.token:
                each.silence.broken()
                return None if each.lost else each
        return None

    def _add(self, piece: Piece, peer: str) -> None:
        member = self._member(piece.process, piece.run, peer)
        if member is None or member.whole:
            return
        try:
            if member.receiver is None:
                member.receiver = Receiver(self._folder / observations_file(member.number))
                self._changed()
            member.receiver.add(piece.offset, piece.data)
        except OSError as error:
            member.lost = f"its records cannot be written here: {error.strerror or error}"
            return
        self._link.send(Got(run=piece.run, offset=member.receiver.offset), peer)

    def _end(self, end: Whole, peer: str) -> None:
        member = self._member(end.process, end.run, peer)
        if member is None:
            return
        its = member.receiver
        if not member.whole and its is not None:
            member.whole = its.is_whole(end.size, end.sha256)
        if member.whole:
            self._link.send(Kept(run=end.run), peer)
        elif its is not None and its.offset < end.size:
            self._link.send(Got(run=end.run, offset=its.offset), peer)
        else:
            member.lost = "what came of its records is not what it wrote"

    def _fail(self, failed: Failed, peer: str) -> None:
        member = self._member(failed.process, failed.run, peer)
        if member is not None and not member.whole:
            member.lost = failed.reason
