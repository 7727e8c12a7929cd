"""One load process: its part in a run that another process leads.

Decides nothing: it asks for a part, makes the requests that it is told to, writes what its clients
received to a file of its own, and sends that to the leader, while it grows and to its end. The file
stays where the leader did not get all of it.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gevent
import gevent.event
import gevent.queue

from fake_providers.records.ledger import Ledger
from routerspec import __version__
from routerspec.errors import RouterspecError
from routerspec.records.load_plan import LoadPlan
from routerspec.records.load_processes import observations_file
from routerspec.scenarios.engine.crew import Client
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.hand import Hand
from routerspec.scenarios.engine.messages import (
    Failed,
    Got,
    Join,
    Kept,
    Link,
    Mixed,
    Ordered,
    Piece,
    Reported,
    Stop,
    Turned,
    Welcome,
    Whole,
)
from routerspec.scenarios.engine.orders import Deal, Report
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.shipping import SILENT_S, Sender, digest

_ASK_AGAIN_S: Final = 1.0
_PAUSE_S: Final = 0.1
_END_AGAIN_S: Final = 1.0


class LoadProcess:
    """A part in one run, from asking for it to the end of its file."""

    def __init__(
        self,
        link: Link,
        folder: Path,
        report: Callable[[Exchange, str], None],
        *,
        opened: Callable[[LoadPlan], LoadPlan],
        mixed: Callable[[Session, Mixed], Exchange],
        client: Client,
        deal: Callable[[Deal], None] = lambda deal: None,
        stop_users: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        """``folder``: where files of load processes are kept. ``opened``: the plan with its keys;
        raises RouterspecError. ``mixed``: the next request of the mixed load; ``client``: one of a
        round of it. ``deal`` is called when the schedule of an open loop is dealt out. ``fail`` is
        called with a sentence where it can have no part.
        """
        self._link = link
        self._folder = folder
        self._report = report
        self._opened = opened
        self._next = mixed
        self._client = client
        self._deal = deal
        self._hand: Hand | None = None
        self._fail = fail
        self._part = secrets.token_hex(8)
        self._session: Session | None = None
        self._welcome: Welcome | None = None
        self._sender: Sender | None = None
        self._mixed: Mixed | None = None
        self._over = False
        self._kept = gevent.event.Event()
        self._greenlets = [gevent.spawn(self._ask)]
        self._shipping: gevent.Greenlet | None = None
        link.on(Welcome, self._begin)
        link.on(Turned, self._turned)
        link.on(Mixed, self._load)
        link.on(Ordered, self._obey)
        link.on(Got, self._got)
        link.on(Kept, self._keep)
        link.on(Stop, lambda stop, _: stop_users() if self._is_of(stop.run) else None)

    @property
    def file(self) -> Path | None:
        """The file of its records; None: it has no part in a run."""
        return self._session.log.path if self._session else None

    @property
    def load(self) -> Mixed | None:
        """The mixed load that its users make now; None: they pause."""
        return None if self._over or self._session is None else self._mixed

    def next_job(self) -> Callable[[], None]:
        """What a user does next."""
        session, mixed = self._session, self.load
        if session is None or self._over:
            return lambda: gevent.sleep(_PAUSE_S)
        try:
            return session.jobs.get(block=mixed is None, timeout=_PAUSE_S)
        except gevent.queue.Empty:
            return self.make_next

    def make_next(self, due_ns: int | None = None) -> None:
        """Make the next request of the mixed load, where it has begun.

        ``due_ns``: when it is due, in an open loop.
        """
        session, mixed = self._session, self.load
        if session is None or mixed is None:
            return
        exchange = self._next(session, mixed)
        exchange.due_ns = due_ns
        session.make(exchange)

    def work(self) -> None:
        """Do jobs of rounds, in a greenlet that is not a user, until killed."""
        while True:
            if self._session is None:
                gevent.sleep(_PAUSE_S)
            else:
                self._session.jobs.get()()

    @property
    def number(self) -> int:
        """Its number in the run; 0: it has none yet."""
        return self._welcome.process if self._welcome else 0

    def report(self, report: Report) -> None:
        """Tell the process that leads."""
        if self._hand is not None:
            self._hand.report(report)

    def stop(self) -> None:
        """Its users have stopped: close the file, which is sent to its end."""
        if self._over:
            return
        self._over = True
        gevent.killall(self._greenlets)
        if self._session is not None and self._sender is not None:
            self._session.kept.close()
            self._session.log.close({"records": self._session.log.records})
            self._sender.close()

    def await_sent(self) -> None:
        """Wait until the leader has the whole file, or has been silent for long."""
        if self._shipping is not None:
            self._shipping.join()

    def _is_of(self, run: str) -> bool:
        return self._welcome is not None and self._welcome.run == run

    def _ask(self) -> None:
        while True:
            self._link.send(
                Join(part=self._part, version=__version__, host=platform.node(), pid=os.getpid())
            )
            gevent.sleep(_ASK_AGAIN_S)
            if self._welcome is not None:
                return

    def _begin(self, welcome: Welcome, _sender: str) -> None:
        if welcome.part != self._part or self._welcome is not None or self._over:
            return
        self._welcome = welcome
        try:
            plan = self._opened(welcome.plan)
            folder = self._folder / f"{welcome.run}-{welcome.process}"
            folder.mkdir(mode=0o700, parents=True)
            path = folder / observations_file(welcome.process)
            log = Ledger(path, role="observations", run=welcome.run)
        except (RouterspecError, OSError) as error:
            reason = f"it could not begin: {error}".rstrip(".")
            self._link.send(Failed(run=welcome.run, process=welcome.process, reason=reason))
            self._fail(str(error))
            return
        self._session = Session(plan, welcome.host, log, self._report, process=welcome.process)
        self._hand = Hand(self._session, self._tell, self._client, self._deal)
        self._sender = Sender(path, self._send)
        self._greenlets.append(gevent.spawn(self._session.watch_stalls))
        self._greenlets.append(gevent.spawn(self._session.watch_clocks))
        self._shipping = gevent.spawn(self._ship)

    def _turned(self, turned: Turned, _sender: str) -> None:
        if turned.part == self._part and self._welcome is None:
            gevent.killall(self._greenlets)
            self._fail(turned.reason)

    def _load(self, mixed: Mixed, _sender: str) -> None:
        if self._is_of(mixed.run) and self._session is not None:
            mixed.known.teach(self._session)
            self._mixed = mixed

    def _obey(self, ordered: Ordered, _sender: str) -> None:
        if self._is_of(ordered.run) and self._hand is not None and not self._over:
            self._hand.obey(ordered.order)

    def _tell(self, report: bytes) -> None:
        if self._welcome is not None:
            its = self._welcome
            self._link.send(Reported(run=its.run, process=its.process, report=report))

    def _got(self, got: Got, _sender: str) -> None:
        if self._is_of(got.run) and self._sender is not None:
            self._sender.got(got.offset)

    def _keep(self, kept: Kept, _sender: str) -> None:
        if self._is_of(kept.run):
            self._kept.set()

    def _send(self, offset: int, data: bytes) -> None:
        assert self._welcome is not None
        its = self._welcome
        self._link.send(Piece(run=its.run, process=its.process, offset=offset, data=data))

    def _ship(self) -> None:
        """Send the file as it grows, and its digest; delete it once the leader has all of it."""
        assert self._welcome is not None
        assert self._sender is not None
        assert self.file is not None
        if not self._sender.run():
            return
        whole = Whole(
            run=self._welcome.run,
            process=self._welcome.process,
            size=self.file.stat().st_size,
            sha256=digest(self.file),
        )
        for _ in range(int(SILENT_S / _END_AGAIN_S)):
            self._link.send(whole)
            if self._kept.wait(timeout=_END_AGAIN_S):
                shutil.rmtree(self.file.parent, ignore_errors=True)
                return
