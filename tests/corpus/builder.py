"""Hand-made histories: a short call a record, both sides kept consistent.

Times are seconds since the start began. Everything is deterministic, so that the committed
histories can be made again, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from fake_providers.prompt import directives
from fake_providers.records.evidence import (
    Call,
    EndedBy,
    Footer,
    Header,
    ListFetch,
    Stall,
    TokenCount,
)
from fake_providers.records.ledger import Records
from fake_providers.records.transcripts import (
    CallTranscript,
    Fields,
    HttpRequest,
    HttpResponse,
    body_of,
)
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.observations import (
    ClientTranscript,
    Disturbance,
    Disturbed,
    EpochMoved,
    Held,
    ListObservation,
    Observation,
    Outcome,
    Released,
    Round,
    RoundEnd,
    RouterExit,
    RouterSignal,
    Snapshot,
)
from routerspec.records.providers import base_of
from routerspec.records.run import (
    GivenUp,
    Incident,
    RecordedRun,
    RecordedStart,
    RouteInfo,
    RunInfo,
    Settings,
    StartInfo,
)

BASE_NS = 10_000_000_000
LIMIT = 2
TTL = 2.0
CAP = Cap(limit=LIMIT)
LISTS = ModelList(ttl_s=TTL)
PROMISES = Promises(cap=CAP, model_list=LISTS)
PATHS = {
    "openai": "/v1/chat/completions",
    "ollama": "/api/chat",
    "anthropic": "/v1/messages",
}
LIST_PATHS = {"openai": "/v1/models", "ollama": "/api/tags", "anthropic": "/v1/models"}


def ns(seconds: float) -> int:
    """A stamp of the clock that all files share."""
    return BASE_NS + round(seconds * 1e9)


def maybe_ns(seconds: float | None) -> int | None:
    return None if seconds is None else ns(seconds)


def request_of(
    body: bytes, *, target: str = "/v1/chat/completions", fields: Fields = (), **more: Any
) -> HttpRequest:
    """A request with this body."""
    head = (("Host", "127.0.0.1"), ("Content-Type", "application/json"), *fields)
    return HttpRequest(
        **{"method": "POST", "target": target, "version": "1.1", "fields": head} | more,
        body=body_of(body),
    )


def response_of(
    body: bytes, *, status: int = 200, stream: bool = False, fields: Fields = (), **more: Any
) -> HttpResponse:
    """A response with this body."""
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    return HttpResponse(
        status=status, **{"fields": (("Content-Type", kind), *fields)} | more, body=body_of(body)
    )


class Start:
    """One start of the router while its history is being made up."""

    def __init__(
        self,
        name: str = "one",
        *,
        token: str = "k3",
        cap: int | None = LIMIT,
        ttl_s: float | None = TTL,
        attempt: int = 1,
        further: tuple[str, ...] = (),
        replicas: int = 1,
    ) -> None:
        """``further``: the instances beyond the first of each provider, with files of their own."""
        self.name, self.token, self.attempt = name, token, attempt
        self.further = further
        self.settings = Settings(cap=cap, models_ttl_s=ttl_s, replicas=replicas)
        self.finished = True
        self.router_exit: int | None = None
        self.incidents: tuple[Incident, ...] = ()
        self.given_up: GivenUp | None = None
        self.fresh_of = ""
        self.evidence: list[Any] = []
        self.observations: list[Any] = []
        self.boots = ("boot-1", "boot-1")
        self.faults = ("", "")
        self.footers = True
        self.account: dict[str, int] = {}
        self._nonces = self._rounds = self._lists = self._counts = 0
        self._calls: dict[str, int] = {}
        self._fetches: dict[str, int] = {}

    def nonce(self) -> int:
        self._nonces += 1
        return self._nonces

    def round(
        self,
        scenario: str,
        begin: float,
        end: float,
        *,
        route: str = "",
        mode: str = "",
        part: str = "",
        incident: str = "",
    ) -> int:
        self._rounds += 1
        self.observations.append(
            Round(
                round=self._rounds,
                scenario=scenario,
                at_ns=ns(begin),
                route=route,
                mode=mode,
                gate=f"g{self._rounds}",
                offered=0,
                part=part,
            )
        )
        self.observations.append(RoundEnd(round=self._rounds, at_ns=ns(end), incident=incident))
        return self._rounds

    def call(
        self,
        *nonces: int,
        read: float,
        end: float,
        provider: str = "openai",
        family: Literal["chat", "embeddings"] = "chat",
        inner_end: float | None = None,
        held: bool = False,
        first: float | None = None,
        stream: bool = False,
        status: int | None = 200,
        ended_by: EndedBy = "fake",
        peer_closed: float | None = None,
        pieces: int = 4,
        run: str | None = None,
        model: str = "fake-chat",
        body: str = "00",
        headless: bool = False,
    ) -> Call:
        self._calls[provider] = number = self._calls.get(provider, 0) + 1
        call = Call(
            provider=provider,
            call=number,
            route=PATHS[base_of(provider)] if family == "chat" else "/v1/embeddings",
            family=family,
            model=model,
            stream=stream,
            run=self.token if run is None else run,
            nonces=nonces,
            body_hash=body,
            attempt=1,
            gate="",
            accepted_ns=ns(read) - 200_000,
            read_ns=ns(read),
            held_ns=ns(read) + 1000 if held else None,
            let_go_ns=ns(end) - 3_000_000 if held else None,
            head_ns=None if headless else ns(end) - 2_000_000,
            first_ns=maybe_ns(first),
            inner_end_ns=ns(end) - 1_000_000 if inner_end is None else ns(inner_end),
            outer_end_ns=ns(end),
            ended_by=ended_by,
            peer_closed_ns=maybe_ns(peer_closed),
            status=status,
            pieces=pieces,
            finished=ended_by == "fake" and status == 200,
            sent_bytes=100,
            late_ns=20_000,
        )
        self.evidence.append(call)
        return call

    def changed(self, call: Call, **fields: Any) -> Call:
        """The same call with other values in these fields."""
        index = self.evidence.index(call)
        changed = msgspec.structs.replace(call, **fields)
        self.evidence[index] = changed
        return changed

    def whole(self, nonce: int, call: Call, count: int = 4) -> str:
        """The text that this call sent for ``nonce``."""
        row = "".join(directives.piece(nonce, call.provider, call.call, i) for i in range(count))
        return row + directives.closing_piece(self.token, nonce, call.provider, call.call, count)

    def client(
        self,
        nonce: int,
        round_: int,
        *,
        sent: float,
        end: float,
        text: str = "",
        route: str = "openai",
        mode: Literal["chat", "stream", "tools", "embeddings", "completions"] = "chat",
        outcome: Outcome = "answered",
        status: int | None = 200,
        hang_up: float | None = None,
        finish: str | None = "stop",
        error: str = "",
        replica: int = 1,
    ) -> Observation:
        client = Observation(
            nonce=nonce,
            round=round_,
            route=route,
            mode=mode,
            started_ns=ns(sent) - 1_000_000,
            sent_ns=ns(sent),
            head_ns=None if status is None else ns(end) - 1_000_000,
            first_ns=None,
            end_ns=ns(end),
            hang_up_ns=maybe_ns(hang_up),
            outcome=outcome,
            status=status,
            pieces=5 if text else 0,
            text=text,
            finish=finish if outcome == "answered" else None,
            done=outcome == "answered",
            error=error,
            replica=replica,
        )
        self.observations.append(client)
        return client

    def call_transcript(
        self, call: Call, request: HttpRequest, response: HttpResponse | None
    ) -> CallTranscript:
        """The bytes of a call, at its provider."""
        transcript = CallTranscript(
            provider=call.provider, call=call.call, request=request, response=response
        )
        self.evidence.insert(self.evidence.index(call) + 1, transcript)
        return transcript

    def transcript(
        self,
        nonce: int,
        round_: int,
        request: HttpRequest,
        response: HttpResponse | None,
        **more: Any,
    ) -> ClientTranscript:
        """The bytes of a request and its response, at the client."""
        transcript = ClientTranscript(
            nonce=nonce,
            round=round_,
            request=request,
            response=response,
            **{"framing": "chunked", "ended": "framed"} | more,
        )
        self.observations.append(transcript)
        return transcript

    def count(
        self,
        round_: int,
        part: str,
        *,
        sent: float,
        end: float,
        status: int = 200,
        asked: float | None = None,
    ) -> int:
        """A request that counts tokens, forwarded to its provider at ``asked``; its nonce."""
        nonce = self.nonce()
        target = f"{PATHS['anthropic']}/count_tokens"
        body = b'{"input_tokens":12}' if status == 200 else b'{"type":"error","error":{}}'
        self.transcript(
            nonce,
            round_,
            request_of(b'{"model":"anthropic/fake-chat","messages":[]}', target=target),
            response_of(body, status=status),
            part=part,
            sent_ns=ns(sent),
            end_ns=ns(end),
        )
        if asked is not None:
            self._counts += 1
            self.evidence.append(
                TokenCount(
                    provider="anthropic",
                    count=self._counts,
                    route=target,
                    run=self.token,
                    nonces=(nonce,),
                    read_ns=ns(asked),
                    outer_end_ns=ns(asked) + 1_000_000,
                )
            )
        return nonce

    def relayed(
        self,
        round_: int,
        *,
        sent: bytes,
        read: bytes,
        at: float = 1.0,
        mode: Literal["chat", "stream"] = "chat",
        asked: bytes = b"{}",
        arrived: bytes | None = None,
        provider: str = "openai",
        status: int = 200,
    ) -> int:
        """A client and its one call, with the bytes of both; the nonce.

        ``sent``: the body that the provider sent; ``read``: the one that the client read. The same
        of the request: ``asked`` and ``arrived`` (as ``asked``).
        """
        nonce = self.nonce()
        stream = mode == "stream"
        call = self.call(nonce, read=at + 0.01, end=at + 0.02, provider=provider, stream=stream)
        self.call_transcript(
            call,
            request_of(asked if arrived is None else arrived, target=call.route),
            response_of(sent, stream=stream),
        )
        self.client(nonce, round_, sent=at, end=at + 0.03, text=self.whole(nonce, call), mode=mode,
                    route=provider, status=status)  # fmt: skip
        self.transcript(
            nonce, round_, request_of(asked), response_of(read, stream=stream, status=status)
        )
        return nonce

    def exchange(self, round_: int, *, sent: float, end: float, **fields: Any) -> int:
        """A client and its one call, answered whole; its nonce."""
        nonce = self.nonce()
        provider = fields.get("provider", "openai")
        call = self.call(nonce, read=sent + 0.01, end=end - 0.01, provider=provider)
        self.client(
            nonce,
            round_,
            sent=sent,
            end=end,
            text=self.whole(nonce, call),
            route=fields.get("route", base_of(provider)),
            mode=fields.get("mode", "chat"),
        )
        return nonce

    def snapshot(
        self,
        round_: int,
        at: float,
        calls: list[Call],
        waiting: list[int],
        *,
        settled: bool = True,
        open_: int | dict[str, int] | None = None,
    ) -> None:
        self.observations.append(
            Snapshot(
                round=round_,
                asked_ns=ns(at) - 1_000_000,
                at_ns=ns(at),
                answered_ns=ns(at) + 1_000_000,
                at=dict.fromkeys(self.further, ns(at)),
                held=tuple(
                    Held(provider=c.provider, call=c.call, nonces=c.nonces, read_ns=c.read_ns)
                    for c in calls
                ),
                open=open_
                if isinstance(open_, dict)
                else {"openai": len(calls) if open_ is None else open_, "ollama": 0},
                waiting=tuple(waiting),
                settled=settled,
            )
        )

    def release(self, round_: int, at: float, what: Literal["gate", "lists"], count: int) -> None:
        self.observations.append(Released(round=round_, at_ns=ns(at), what=what, count=count))

    def moved(self, round_: int, at: float, epoch: int) -> None:
        self.observations.append(
            EpochMoved(round=round_, epoch=epoch, before_ns=ns(at) - 1000, after_ns=ns(at))
        )

    def signal(
        self, round_: int, at: float, what: Literal["drain", "reload"], *, cap: int | None = None
    ) -> None:
        """The router was sent the signal to drain, or to read its files, which have this cap."""
        self.observations.append(
            RouterSignal(
                round=round_,
                what=what,
                pid=17,
                before_ns=ns(at),
                after_ns=ns(at) + 100_000,
                signal="TERM" if what == "drain" else "HUP",
                cap=cap,
            )
        )

    def disturbed(
        self, round_: int, at: float, what: Disturbed, *, replica: int = 0, service: str = ""
    ) -> None:
        """A replica or a service was disturbed."""
        self.observations.append(
            Disturbance(
                round=round_,
                what=what,
                replica=replica,
                service=service,
                before_ns=ns(at),
                after_ns=ns(at) + 1_000_000,
            )
        )

    def exited(self, round_: int, at: float, status: int | None) -> None:
        """The router had exited then, or was still running."""
        self.observations.append(RouterExit(round=round_, at_ns=ns(at), status=status))

    def stall(self, at: float, seconds: float) -> None:
        self.evidence.append(Stall(at_ns=ns(at), stalled_ns=round(seconds * 1e9)))

    def fetch(
        self,
        read: float,
        end: float,
        *,
        provider: str = "openai",
        epoch: int = 0,
        held: bool = False,
        answered: bool = True,
        status: int | None = 200,
        peer_closed: float | None = None,
    ) -> ListFetch:
        self._fetches[provider] = number = self._fetches.get(provider, 0) + 1
        fetch = ListFetch(
            provider=provider,
            fetch=number,
            route=LIST_PATHS[base_of(provider)],
            epoch=epoch,
            read_ns=ns(read),
            held=held,
            inner_end_ns=ns(end) - 100_000,
            outer_end_ns=ns(end),
            answered=answered,
            peer_closed_ns=maybe_ns(peer_closed),
            status=status,
        )
        self.evidence.append(fetch)
        return fetch

    def ask_list(
        self,
        round_: int,
        sent: float,
        end: float,
        *,
        epochs: dict[str, int] | None = None,
        outcome: Outcome = "answered",
        status: int | None = 200,
        model: str = "",
        hang_up: float | None = None,
        replica: int = 1,
    ) -> None:
        self._lists += 1
        self.observations.append(
            ListObservation(
                request=self._lists,
                round=round_,
                started_ns=ns(sent) - 1_000_000,
                sent_ns=ns(sent),
                end_ns=ns(end),
                outcome=outcome,
                status=status,
                epochs={"openai": 0} if epochs is None else epochs,
                models=1 if model else 4,
                error="",
                model=model,
                hang_up_ns=maybe_ns(hang_up),
                replica=replica,
            )
        )

    def held_round(
        self,
        scenario: str,
        begin: float,
        *,
        held: int = LIMIT,
        offered: int = 5,
        route: str = "openai",
        mode: Literal["chat", "stream", "tools", "embeddings", "completions"] = "chat",
        routes: tuple[str, ...] = (),
        settled: bool = True,
        part: str = "",
        stay: float = 0.0,
    ) -> tuple[int, list[Call], list[int]]:
        """``held`` of ``offered`` requests are held in two snapshots, released, and answered.

        ``routes``: whose request is whose, where there are several. Returns (round, the calls
        that were held, all nonces). ``stay``: seconds that they are held longer.
        """
        number = self.round(scenario, begin, begin + 3 + stay, route=route, mode=mode, part=part)
        nonces = [self.nonce() for _ in range(offered)]
        names = routes or (route,) * offered
        stream = mode == "stream"
        calls: list[Call] = []
        for index, nonce in enumerate(nonces):
            early = index < held
            call = self.call(
                nonce,
                read=begin + (0.11 if early else stay + 1.6 + 0.2 * (index - held)) + 0.001 * index,
                end=begin + stay + (1.52 if early else 1.7 + 0.2 * (index - held)) + 0.001 * index,
                provider="ollama" if names[index] == "ollama" else "openai",
                held=early,
                first=begin + 0.12 + 0.001 * index if stream and early else None,
                stream=stream,
            )
            calls.append(call)
            self.client(
                nonce,
                number,
                sent=begin + 0.1,
                end=begin + stay + 1.55 + 0.3 * (index + 1),
                text=self.whole(nonce, call),
                route=names[index],
                mode=mode,
            )
        self.snapshot(number, begin + stay + 0.8, calls[:held], nonces, settled=settled)
        self.snapshot(number, begin + stay + 1.1, calls[:held], nonces, settled=settled)
        self.release(number, begin + stay + 1.5, "gate", held)
        return number, calls[:held], nonces

    def crowd(
        self, round_: int, sent: float, end: float, *, clients: int = 12, **fields: Any
    ) -> None:
        """Clients that ask for the list at once."""
        for _ in range(clients):
            self.ask_list(round_, sent, end, **fields)

    def records(self) -> tuple[list[Any], list[Any]]:
        """The lines of both files, in a fixed order, without header and footer."""
        return list(self.evidence), list(self.observations)

    def info(self) -> StartInfo:
        played = dict.fromkeys(r.scenario for r in self.observations if isinstance(r, Round))
        return StartInfo(
            name=self.name,
            token=self.token,
            attempt=self.attempt,
            settings=self.settings,
            scenarios=tuple(played),
            finished=self.finished,
            router_exit=self.router_exit,
            incidents=self.incidents,
            given_up=self.given_up or UNSET,
            fresh_of=self.fresh_of or UNSET,
        )

    def recorded(self) -> RecordedStart:
        calls, clients = self.records()
        return RecordedStart(
            info=self.info(),
            evidence=self._file("evidence", self._of("", calls), 0),
            observations=self._file("observations", clients, 1),
            further={
                name: self._file("evidence", self._of(name, calls), 0) for name in self.further
            },
        )

    def _of(self, instance: str, lines: list[Any]) -> list[Any]:
        """The lines of one instance's file; empty: of the first of all providers."""
        providers = [getattr(line, "provider", "") for line in lines]
        whose = [name if name in self.further else "" for name in providers]
        return [line for line, name in zip(lines, whose, strict=True) if name == instance]

    def _file(
        self, role: Literal["evidence", "observations"], lines: list[Any], which: int
    ) -> Records[Any]:
        return Records(
            header=header(role, self.token, self.boots[which]),
            records=tuple(lines),
            footer=self.footer(lines) if self.footers else None,
            fault=self.faults[which],
        )

    def footer(self, lines: list[Any]) -> Footer:
        calls = [line for line in lines if isinstance(line, Call)]
        account = {
            "calls": len(calls),
            "list_fetches": sum(isinstance(line, ListFetch) for line in lines),
            "peak_open": max((_open_at(calls, call.read_ns) for call in calls), default=0),
            "open_ns": sum(call.outer_end_ns - call.read_ns for call in calls),
        }
        return Footer(records=len(lines), account=account | self.account, closed_ns=ns(100))

    def write(self, folder: Path) -> None:
        """The start's files as a run folder has them."""
        folder.mkdir(parents=True)
        (folder / "start.json").write_bytes(_json(self.info()))
        recorded = self.recorded()
        files: dict[str, Records[Any]] = {
            "evidence": recorded.evidence,
            "observations": recorded.observations,
        }
        files |= {f"evidence-{name}": its for name, its in recorded.further.items()}
        for name, its in files.items():
            lines = (its.header, *its.records, its.footer)
            text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            (folder / f"{name}.jsonl").write_bytes(text)


def _open_at(calls: list[Call], at_ns: int) -> int:
    return sum(call.read_ns <= at_ns < call.outer_end_ns for call in calls)


def header(role: Literal["evidence", "observations"], token: str, boot: str) -> Header:
    return Header(
        role=role,
        run=token,
        host="example",
        boot=boot,
        pid=1,
        started_ns=BASE_NS,
        started_at="2026-11-01T12:00:00.000+00:00",
    )


def route(
    name: str,
    *modes: str,
    implied: bool = False,
    front: Literal["openai", "ollama", "anthropic", "responses"] = "openai",
    provider: Literal["", "openai", "ollama", "anthropic"] = "",
) -> RouteInfo:
    return RouteInfo(
        name=name, front=front, modes=modes or ("chat",), implied=implied, provider=provider
    )


def run_info(
    *starts: Start,
    selected: tuple[str, ...] | Literal["all"],
    routes: tuple[RouteInfo, ...] = (route("openai"),),
    promises: Promises = PROMISES,
    not_applicable: dict[str, str] | None = None,
    known: dict[str, str] | None = None,
    not_played: dict[str, tuple[str, ...]] | None = None,
    instances: dict[str, int] | None = None,
) -> RunInfo:
    return RunInfo(
        run="k",
        target="made-up",
        version="1.0",
        routerspec="0.1.0",
        command="routerspec verify made-up",
        seed=7,
        started_at="2026-11-01T12:00:00+00:00",
        promises=promises,
        routes=routes,
        selected=selected,
        starts=tuple(start.name for start in starts),
        not_applicable=not_applicable or {},
        known=known or {},
        not_played=not_played or UNSET,
        instances=instances or {},
    )


def run_of(*starts: Start, **info: Any) -> RecordedRun:
    """A whole run in memory, as ``read_run`` would give it."""
    return RecordedRun(
        info=run_info(*starts, **info), starts=tuple(start.recorded() for start in starts)
    )


def write_run(folder: Path, *starts: Start, **info: Any) -> None:
    """A whole run on disk."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(_json(run_info(*starts, **info)))
    for start in starts:
        start.write(folder / "starts" / start.name)


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
