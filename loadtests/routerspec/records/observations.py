"""The observations: what the clients received and what the conductor did, one record each.

The file has the format of the evidence: header, JSON lines, footer (see
``fake_providers.records.evidence``).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fake_providers.records.evidence import Footer, Header, Stall
from fake_providers.records.transcripts import HttpRequest, HttpResponse

EXPENDABLE: Final = (
    b'{"kind":"observation",',
    b'{"kind":"list_observation",',
    b'{"kind":"client_transcript",',
)
"""How the lines begin that hold what a router answered. One that cannot be read proves nothing, and
takes nothing away from what others prove."""

PARSE_ERRORS: Final = ("HTTPParseError: ", "HTTPProtocolViolationError: ")
"""How ``error`` begins where what came is no HTTP to the client's parser."""

STREAMED: Final = frozenset({"stream", "tools"})
"""The modes whose answers are streams."""

Outcome = Literal["answered", "refused", "failed", "timed_out", "hung_up"]
Disturbed = Literal[
    "killed",
    "started",
    "paused",
    "resumed",
    "cut-off",
    "rejoined",
    "restarted",
    "gone",
    "back",
]
"""Of a replica: ``killed`` and ``started``, ``paused`` and ``resumed`` (SIGSTOP, SIGCONT);
``cut-off``, when nothing passes between it and the service any more, and ``rejoined``. Of a
service: ``restarted`` with nothing in it, ``gone`` (killed, and not started again) and ``back``."""
Framing = Literal["", "length", "chunked", "close", "none"]
Ended = Literal["", "framed", "closed"]


class Observation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="observation",
    gc=False,
    omit_defaults=True,
):
    """One generation request of a client, on a connection of its own unless it says otherwise."""

    nonce: int
    round: int
    """The round that it belongs to (see ``Round``)."""
    route: str
    """The target's name of the route: ``openai``, ``ollama``, ``agent`` ..."""
    mode: Literal["chat", "stream", "tools", "embeddings", "completions"]
    started_ns: int
    """Before connecting, or before sending on a connection that was kept."""
    sent_ns: int | None
    """The last byte of the request was written."""
    head_ns: int | None
    first_ns: int | None
    """The first non-empty piece of content was read."""
    end_ns: int
    """The last byte was read, the exchange failed, or the connection was closed."""
    hang_up_ns: int | None
    """Taken just before our own close, when the scenario had this client disconnect."""
    outcome: Outcome
    """``answered``: a 2xx answer, read to the end of its framing. ``refused``: a status >= 400
    read to its end. ``failed``: the exchange broke (``error`` says how). ``timed_out``: the
    client's own timeout passed, or it had read as much as it reads of one answer. ``hung_up``: it
    disconnected, as the scenario had it."""
    status: int | None
    pieces: int
    """Non-empty pieces of content read."""
    text: str
    """All content, joined. For embeddings: the nonce that the vector carries, as ``embedding:17``,
    or ``embedding:?`` for a vector that carries none. In the mode ``tools`` the argument ``text``;
    where the arguments are not whole, what there is of it."""
    finish: str | None
    """``finish_reason``, ``done_reason``, ``stop_reason``, the status of a response or why it is
    not complete; None when no finish marker came."""
    done: bool
    """``[DONE]``, ``"done": true``, ``message_stop`` or the last event of a response came."""
    error: str
    """What broke, or the start of an error's body; empty otherwise."""
    piece_ns: tuple[int, ...] = ()
    """When each non-empty piece was read, where the scenario records it."""
    retry_after: str = ""
    """The answer's Retry-After; empty when it had none."""
    json_error: bool = False
    """The body of a refusal is a JSON object that says ``error``."""
    reused: bool = False
    """Its connection had carried an earlier request, whose answer was read to its end. Where the
    router closes such a connection before any byte of an answer there is no record: the request
    may have crossed that close, and proves nothing."""
    unframed_error: bool = False
    """``error`` stood in the answer to a request for a stream of events, and clients that read
    events see nothing of it: the answer had no event, or, where they read events by their names,
    the error's had none."""
    secrets: tuple[str, ...] = ()
    """Names of the run's secrets in the headers or body of the answer; never the secrets."""
    replica: int = 1
    """The replica of the router that it was sent to, from 1."""


class ClientTranscript(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="client_transcript",
    omit_defaults=True,
):
    """One request of a client and its response as their bytes were, where the scenario wants them.

    Of a generation request it comes just after the observation with its nonce.
    """

    nonce: int
    """0: it is none of a generation request."""
    round: int
    part: str = ""
    """What this request is within its round, where there are several."""
    connection: int = 0
    """Number of its connection, from 1, where several requests may share one; 0: its own."""
    request: HttpRequest
    response: HttpResponse | None
    """As far as it came; None: no head came."""
    informational: tuple[int, ...] = ()
    """The statuses of interim responses (1xx) before it."""
    framing: Framing = ""
    """What ends the body: its length, its last chunk, the close of the connection; ``none``: it can
    have no body."""
    ended: Ended = ""
    """``framed``: the body came to its end, by its framing; ``closed``: the connection was closed,
    which is the end where ``framing`` is ``close``. Empty: the client did not see an end."""
    fault: str = ""
    """The first thing that is no HTTP about the response; mostly empty."""
    surplus: int = 0
    """Bytes that came after the end."""
    arrivals: tuple[tuple[int, int], ...] = ()
    """(bytes of the body by then, when they were read), for each read."""
    sent_ns: int | None = None
    """The last byte of the request was written; None as well where the scenario does not stamp it,
    as in the next two."""
    end_ns: int | None = None
    """The last byte was read, the exchange broke, or its client waited no longer."""
    withheld_ns: int | None = None
    """How long the body of the request was held back for an interim response to its head."""
    lost: bool = False
    """The router closed the connection before any byte of a response, as it may."""


class ListObservation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="list_observation",
    gc=False,
    omit_defaults=True,
):
    """One request for the router's model list."""

    request: int
    """Dense, from 1, over the list requests of one start."""
    round: int
    started_ns: int
    sent_ns: int | None
    end_ns: int
    outcome: Outcome
    status: int | None
    epochs: dict[str, int]
    """Provider -> the epoch that its marker in the list carries; a provider without is absent."""
    models: int
    """Number of ids in the list."""
    error: str
    path: str = ""
    """The path that was requested, where it is not the judged one."""
    model: str = ""
    """The id that was requested by itself, at the list's path; empty: the whole list. Then
    ``models`` is 1 where the answer is that model, and 0 where it is anything else."""
    spelling: str = ""
    """That id as it stood in the path."""
    named: tuple[str, ...] = ()
    """Of the ids that the round requests by themselves: those that this whole list has."""
    hang_up_ns: int | None = None
    """Taken just before our own close, when the scenario had this client disconnect."""
    secrets: tuple[str, ...] = ()
    """Names of the run's secrets in the headers or body of the answer; never the secrets."""
    replica: int = 1
    """The replica of the router that it was sent to, from 1."""


class Round(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="round"):
    """The conductor begins one round of a scenario."""

    round: int
    """Dense, from 1, within one start of the router."""
    scenario: str
    at_ns: int
    route: str
    """The route that the round exercises; empty for none in particular."""
    mode: str
    gate: str
    """The gate that its requests hold at; empty for none."""
    offered: int
    """Requests that the conductor means to send."""
    part: str
    """What this round is within its scenario, as the scenario calls it."""


class Held(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call that a fake was holding when it was asked."""

    provider: str
    call: int
    nonces: tuple[int, ...]
    read_ns: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="look"):
    """What the fakes held at one moment, as they answered the conductor.

    They took it at one time between ``asked_ns`` and ``answered_ns``.
    """

    round: int
    asked_ns: int
    at_ns: int
    """When the fakes took the snapshot, by the clock of their evidence."""
    answered_ns: int = msgspec.field(name="told_ns")
    at: dict[str, int] = {}
    """Instance -> when it took its own part of the snapshot, by the clock of its own evidence, of
    those beyond the first of a provider."""
    held: tuple[Held, ...]
    open: dict[str, int]
    """Provider -> generation calls open, held or not."""
    waiting: tuple[int, ...]
    """Nonces of this round whose requests were fully written and whose clients still waited."""
    settled: bool
    """No call had arrived for the settling time when this snapshot was taken."""

    def taken_ns(self, provider: str) -> int:
        """When the part of this instance was taken, by the clock of its evidence."""
        return self.at.get(provider, self.at_ns)


class Released(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="released"):
    """The conductor released the calls at a gate, or the held list fetches."""

    round: int
    at_ns: int
    """Just before it requested that from the fakes."""
    what: Literal["gate", "lists"]
    count: int
    """How many held calls or fetches were released."""


class EpochMoved(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="epoch_moved"):
    """The lists of all providers carry a new epoch from here on."""

    round: int
    epoch: int
    before_ns: int
    after_ns: int


class RouterSignal(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="router_signal"
):
    """The harness sent the router's process a signal, or ran the command that reloads it."""

    round: int
    what: Literal["drain", "reload"]
    pid: int
    before_ns: int
    """Just before the signal was sent, or the command was started."""
    after_ns: int
    """Just after it was sent, or the command had exited."""
    signal: str = ""
    """``TERM``; empty: a command was run."""
    command_status: int | None = None
    """The command's exit status."""
    cap: int | None = None
    """``reload``: the cap in the files that were written anew; None: they have none."""


class RouterExit(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="router_exit"):
    """What became of the router's process."""

    round: int
    at_ns: int
    """When it exited; where it did not, when it was last seen running."""
    status: int | None
    """Its exit status (-N: signal N); None: it was running."""


class Disturbance(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="disturbance"):
    """The harness disturbed a replica of the router, or a service that replicas share."""

    round: int
    what: Disturbed
    replica: int = 0
    """The replica, from 1; 0: all of them, or it was done to the service."""
    service: str = ""
    """Name of the service that was disturbed, or from which a replica was cut off."""
    before_ns: int
    """Just before it was done."""
    after_ns: int
    """Just after it was seen to be done."""


class ClockExchange(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="clock_exchange", gc=False
):
    """One question for the clock of a process of fakes: its answer lies between two of our times.

    ``at_ns`` less ``answered_ns``, and ``at_ns`` less ``asked_ns``, are bounds of how far it is
    ahead of ours, whatever way the two messages took.
    """

    instance: str
    """Whose evidence has that clock; empty: the first of each provider."""
    asked_ns: int
    """Just before the question was sent, by the clock of this file."""
    at_ns: int
    """When it was read, by the clock of that evidence."""
    answered_ns: int
    """Just after the answer was read, by the clock of this file."""


class RoundEnd(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="round_end"):
    """Every client of the round is done."""

    round: int
    at_ns: int
    incident: str = msgspec.field(name="trouble")
    """Why the round could not be played as meant (not the router's fault); mostly empty."""


Record = (
    Header
    | Observation
    | ClientTranscript
    | ListObservation
    | Round
    | Snapshot
    | Released
    | EpochMoved
    | RouterSignal
    | RouterExit
    | Disturbance
    | ClockExchange
    | RoundEnd
    | Stall
    | Footer
)
