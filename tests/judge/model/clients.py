"""Clients: what one sends, what it reads and when it leaves, and the record of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.judge.model import records
from tests.judge.model.fakes import Event
from tests.judge.model.model_list import ListRequest, ModelList
from tests.judge.model.router import Request, Router
from tests.judge.model.virtual_time import Pipe, Signal
from tests.judge.model.world import World

PATIENCE_S = 40.0


class Sender:
    """What clients share: the last byte goes with others, and a stall of the load is theirs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clock = world.clock

    def _send(self) -> None:
        raise NotImplementedError

    async def _send_with(self, go: Signal) -> None:
        await go.wait()
        await self._clock.sleep(self._world.rng.uniform(0.0, 0.0005))
        self._send()

    def _asleep(self, do: Callable[[], None]) -> bool:
        until = self._world.load_stall.until(self._clock.now)
        if until > self._clock.now:
            self._clock.at(until, do)
            return True
        return False


class Client(Sender):
    """A generation request on a connection of its own."""

    def __init__(
        self,
        world: World,
        router: Router,
        request: Request,
        *,
        round_: int,
        patience_s: float,
        leaves: tuple[float | None, int | None] = (None, None),
    ) -> None:
        """``leaves``: after how many seconds, or pieces, it hangs up by itself."""
        super().__init__(world)
        self._router = router
        self._round = round_
        self._leaves_after_s, self._leaves_after_pieces = leaves
        self._finish: str | None = None
        self._done = False
        self._texts: list[str] = []
        self._error = ""
        self._retry_after = ""
        self._json = False
        self._stamps: list[int] = []
        self.request = request
        request.reply = Pipe(world.clock, world.lag, self._read)
        self.nonce = request.nonce
        self.over = Signal(world.clock)
        self.outcome = ""
        self.status: int | None = None
        self.started_ns = 0
        self.sent_ns: int | None = None
        self.head_ns: int | None = None
        self.first_ns: int | None = None
        self.end_ns = 0
        self.hang_up_ns: int | None = None
        self.patience_s = patience_s
        self.when_over: Callable[[Client], None] = lambda _: None
        self.secrets: tuple[str, ...] = ()
        self.unread = False
        """Nothing of its answer is read, until it leaves or reads on."""
        self._to_read: list[Event] = []

    @property
    def pieces(self) -> int:
        return len(self._texts)

    @property
    def waiting(self) -> bool:
        return self.sent_ns is not None and not self.outcome

    def begin(self, go: Signal | None = None) -> None:
        """Connect; write; with ``go`` the last byte waits for it."""
        self.started_ns = self._clock.stamp()
        connect_s = self._world.lag()
        self._clock.after(self.patience_s, self._give_up)
        if go is None:
            self._clock.after(connect_s, self._send)
        else:
            self._clock.spawn(self._send_with(go))

    def _send(self) -> None:
        if self._asleep(self._send) or self.outcome:
            return
        self.sent_ns = self._clock.stamp()
        self._clock.after(self._world.lag(), lambda: self._router.receive(self.request))
        if self._leaves_after_s is not None:
            self._clock.after(self._leaves_after_s, self._leave_by_itself)

    def leave(self) -> bool:
        """Hang up now; False when it was over."""
        if self.outcome or not self.started_ns:
            return False
        self.hang_up_ns = self._clock.stamp()
        self._end("hung_up")
        return True

    def read_on(self) -> None:
        """Read what has come so far, and then what comes."""
        self.unread = False
        events, self._to_read = self._to_read, []
        for event in events:
            self._read(event)

    def _leave_by_itself(self) -> None:
        self.leave()

    def _give_up(self) -> None:
        if not self.outcome:
            self._error = f"no end after {self.patience_s:g} s"
            self._end("timed_out")

    def _read(self, event: Event) -> None:
        if self._asleep(partial(self._read, event)) or self.outcome:
            return
        if self.unread:
            self._to_read.append(event)
            return
        kind, what = event
        if kind == "head":
            self.status, self._retry_after, self._json = what
            self.head_ns = self._clock.stamp()
        elif kind == "whole":
            self.status, text = what
            self.head_ns = self._clock.stamp()
            self._take(text)
            self._finish = "stop" if self.request.mode != "embeddings" else None
            self._end("answered")
        elif kind == "piece":
            self._take(what)
        elif kind == "finish":
            self._finish, self._done = what, True
            self._end("answered")
        elif kind == "error":
            self._error = what
            self._end("answered")
        elif kind == "end":
            refused = (self.status or 0) >= 400
            if refused:
                self._error = '{"error":{"message":"no"}}' if self._json else "<html>no</html>"
            self._end("refused" if refused else "answered")
        else:
            self._error = "ConnectionResetError: reset"
            self._end("failed")

    def _take(self, text: str) -> None:
        now = self._clock.stamp()
        self.first_ns = self.first_ns or now
        self._texts.append(text)
        self._stamps.append(now)
        if self._leaves_after_pieces is not None and len(self._texts) >= self._leaves_after_pieces:
            self.leave()

    def _end(self, outcome: Any) -> None:
        if self.outcome:
            return
        self.outcome = outcome
        self.end_ns = self._clock.stamp()
        if outcome in {"hung_up", "timed_out"}:
            # The close is behind the request, if that is under way.
            self._clock.after(
                self._world.lag() + (0.0 if self.request.task else 0.04),
                lambda: self._router.client_left(self.request),
            )
        embeddings = self.request.mode == "embeddings"
        self._world.start.observations.append(
            records.Observation(
                nonce=self.nonce,
                round=self._round,
                route=self.request.route,
                mode=self.request.mode,  # type: ignore[arg-type]
                started_ns=self.started_ns,
                sent_ns=self.sent_ns,
                head_ns=self.head_ns,
                first_ns=self.first_ns,
                end_ns=self.end_ns,
                hang_up_ns=self.hang_up_ns,
                outcome=outcome,
                status=self.status,
                pieces=len(self._texts),
                text="".join(self._texts),
                finish=None if embeddings else self._finish,
                done=self._done,
                error=self._error,
                piece_ns=tuple(self._stamps) if self.request.told.get("clocked") else (),
                retry_after=self._retry_after if outcome == "refused" else "",
                json_error=outcome == "refused" and self._json,
                secrets=self.secrets,
            )
        )
        self.over.fire()
        self.when_over(self)


class ListClient(Sender):
    """A request for the router's model list."""

    def __init__(
        self, world: World, lists: ModelList, *, number: int, round_: int, model: str
    ) -> None:
        super().__init__(world)
        self._lists = lists
        self._round = round_
        self._number = number
        self._request = ListRequest(model=model, reply=Pipe(world.clock, world.lag, self._read))
        self.over = Signal(world.clock)
        self.outcome = ""
        self.status: int | None = None
        self.started_ns = 0
        self.sent_ns: int | None = None
        self.end_ns = 0
        self.hang_up_ns: int | None = None
        self.epochs: dict[str, int] = {}
        self._models = 0

    def begin(self, go: Signal | None = None, patience_s: float = PATIENCE_S) -> None:
        self.started_ns = self._clock.stamp()
        self._clock.after(patience_s, self._give_up)
        if go is None:
            self._clock.after(self._world.lag(), self._send)
        else:
            self._clock.spawn(self._send_with(go))

    def _send(self) -> None:
        if self._asleep(self._send) or self.outcome:
            return
        self.sent_ns = self._clock.stamp()
        self._clock.after(self._world.lag(), lambda: self._lists.receive(self._request))

    def leave(self) -> bool:
        if self.outcome:
            return False
        self.hang_up_ns = self._clock.stamp()
        self._end("hung_up")
        self._clock.after(
            self._world.lag() + (0.0 if self._request.task else 0.04),
            lambda: self._lists.client_left(self._request),
        )
        return True

    def _give_up(self) -> None:
        if not self.outcome:
            self._end("timed_out")

    def _read(self, event: Event) -> None:
        if self._asleep(partial(self._read, event)) or self.outcome:
            return
        self.status, self.epochs, self._models = event[1]
        if self.status is None:
            self._end("failed")
        else:
            self._end("refused" if self.status >= 400 else "answered")

    def _end(self, outcome: Any) -> None:
        self.outcome = outcome
        self.end_ns = self._clock.stamp()
        answered = outcome == "answered"
        self._world.start.observations.append(
            records.ListObservation(
                request=self._number,
                round=self._round,
                started_ns=self.started_ns,
                sent_ns=self.sent_ns,
                end_ns=self.end_ns,
                outcome=outcome,
                status=self.status,
                epochs=self.epochs if answered else {},
                models=self._models if answered else 0,
                error="",
                model=self._request.model,
                hang_up_ns=self.hang_up_ns,
            )
        )
        self.over.fire()
