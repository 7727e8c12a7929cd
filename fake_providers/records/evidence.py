"""The evidence: what a fake provider saw, one record a request.

A file of records has a header, the records and a footer. Decides their shapes. Refuses to know who
writes them, what a router is, or what any of it proves.

All times are ``time.monotonic_ns()`` of the machine named in the header. On one machine that
clock is the same for every process, so records of several files may be compared when their
headers name the same ``boot``; otherwise they may not.

Two intervals of a call are kept, because they serve opposite purposes:

``inner``
    ``read_ns`` .. ``inner_end_ns``. Starts when the whole request has been read; ends just *before*
    the first byte from which a router could tell that the exchange is over or has failed (a
    finish reason, ``done: true``, ``[DONE]``, the head of a JSON answer or of an error, the fake's
    own cut). Nobody can have reused the permit of a call inside it: it may accuse.
``outer``
    ``read_ns`` .. ``outer_end_ns``. Ends when the last byte was sent or the close was seen. It may
    only excuse.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fake_providers.records.transcripts import CallTranscript

FORMAT = 1

Family = Literal["chat", "completions", "generate", "embeddings", "responses", "messages"]
EndedBy = Literal["fake", "peer", "cut", "shutdown"]
Refused = Literal["", "token", "host", "origin"]


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="header"):
    """First line of every file of records: which process wrote it, and by which clock."""

    format: int = FORMAT
    role: Literal["evidence", "observations"]
    run: str
    """The run's token, as in every prompt of the run: lower-case letters and digits."""
    host: str
    boot: str
    """Identity of the clock: two headers with the same ``boot`` share one monotonic clock."""
    pid: int
    started_ns: int
    started_at: str
    """Wall time, RFC 3339, for people only."""


class Call(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="call",
    gc=False,
    omit_defaults=True,
):
    """One upstream call that generates (chat, completion, embeddings, ...), written at its end."""

    provider: str
    """``openai``, ``ollama`` or ``anthropic``: which fake."""
    call: int
    """Dense per provider, from 1, in the order in which whole requests were read."""
    route: str
    """The path of the request, for example ``/v1/chat/completions``."""
    family: Family
    model: str
    stream: bool = False
    run: str
    """Run token found in the body; empty where the body had none."""
    nonces: tuple[int, ...]
    """Distinct nonces of that run, in order of appearance. Several: a batch. None: not ours."""
    body_hash: str
    """16 hex digits over the body with JSON key order kept: a retry has the same one."""
    attempt: int = 1
    """1 + the number of earlier calls with the same run, nonces, route and body hash. Only the
    latest bodies are remembered: one that comes again after 65,536 others may count as new."""
    gate: str = ""
    """The gate at which this call was scripted to hold; empty for none."""
    accepted_ns: int
    """The request's head was read."""
    read_ns: int
    """The whole request was read: both intervals start here."""
    held_ns: int | None = None
    """It began to hold (None: it never held)."""
    let_go_ns: int | None = None
    """It was released (None: never, or it never held)."""
    head_ns: int | None = None
    """Just after the answer's head was sent."""
    first_ns: int | None = None
    """Just after the first piece of content was sent."""
    inner_end_ns: int
    outer_end_ns: int
    ended_by: EndedBy = "fake"
    """``fake``: answered to the end. ``peer``: the router disconnected first. ``cut``: cut by the
    fake, as scripted. ``shutdown``: still open when the fake was stopped."""
    peer_closed_ns: int | None = None
    """The router's close was seen before the end."""
    status: int | None = 200
    """Status sent; None when the head was never sent."""
    pieces: int
    """Pieces of content sent."""
    finished: bool = True
    """A finish marker was sent: the answer is whole."""
    sent_bytes: int
    late_ns: int = 0
    """The worst lateness of a paced step of this call against its schedule."""
    canaries: tuple[str, ...] = ()
    """Names of the secrets found in its headers, path, query or body; never the secrets."""


class ListFetch(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="list_fetch",
    gc=False,
    omit_defaults=True,
):
    """One fetch of a model list, written at its end."""

    provider: str
    fetch: int
    """Dense per provider, from 1, in the order in which they arrived."""
    route: str
    """``/v1/models``, ``/api/tags``: counted separately."""
    epoch: int
    """The epoch in the answer: the one that was current when the fetch arrived."""
    read_ns: int
    held: bool
    inner_end_ns: int
    """Just before the head of the answer."""
    outer_end_ns: int
    """Just after its last byte, or when the router's close was seen."""
    answered: bool
    """The whole answer was sent to a peer that was still connected."""
    peer_closed_ns: int | None
    status: int | None
    canaries: tuple[str, ...] = ()
    """Names of the secrets found in its headers, path, query or body; never the secrets."""


class TokenCount(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="token_count",
    gc=False,
    omit_defaults=True,
):
    """A request for the number of tokens of a prompt, answered at once: it generates nothing.

    It is no call: no number of calls, open or in all, counts it.
    """

    provider: str
    count: int
    """Dense per provider, from 1, in the order in which they were read."""
    route: str
    run: str
    """Run token found in the body; empty where the body had none."""
    nonces: tuple[int, ...]
    """Distinct nonces of that run, in order of appearance."""
    read_ns: int
    """The whole request was read."""
    outer_end_ns: int
    """Just after the last byte of the answer was sent."""
    status: int = 200
    canaries: tuple[str, ...] = ()
    """Names of the secrets found in its headers, path, query or body; never the secrets."""


class ControlCall(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="control_call", gc=False
):
    """A request to the control API that changed something, or was refused to whoever sent it.

    Reads by somebody with the token leave no record.
    """

    at_ns: int
    method: str
    path: str
    """Its first 200 characters."""
    status: int
    """Of the answer; below 400: it changed something."""
    refused: Refused = ""
    """Why it was refused: the token was missing or wrong, or the Host or Origin header was foreign.
    Empty: it was not."""


class Stall(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="stall", gc=False):
    """A self-reported stall: the recording process was kept from running."""

    at_ns: int
    """When the process ran again."""
    stalled_ns: int
    """How much later than scheduled that was."""


class Footer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="footer"):
    """Last line of a file that was closed properly. Without it the file is truncated."""

    records: int
    """Lines between header and footer."""
    account: dict[str, int]
    """The writer's own sums, which a judge can compare with the records: for evidence ``calls``,
    ``list_fetches``, ``peak_open`` (most calls open at once, ``read_ns``..``outer_end_ns``),
    ``open_ns`` (the integral of that number over time, in nanoseconds), ``control_changes`` and
    ``control_refused`` (of the control API, also where not each has its record) and
    ``attempts_forgotten`` (bodies whose attempts are not remembered any more). For observations
    ``control_changes``: the requests that the clients' side sent to change something."""
    closed_ns: int


Evidence = Header | Call | CallTranscript | ListFetch | TokenCount | ControlCall | Stall | Footer
