"""The control API: snapshot, gates, lists, default behaviour, metrics, ledger.

No route waits between reading and answering, so each answer is one atomic snapshot.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from fake_providers.calls.metrics import METRICS_TYPE, Exposition
from fake_providers.calls.provider import SharedState
from fake_providers.control.access import Access
from fake_providers.control.bodies import (
    DefaultChange,
    ListsChange,
    ListsRelease,
    Release,
    Transcripts,
    changes,
)
from fake_providers.control.documents import document_routes
from fake_providers.control.routes import (
    FileAnswer,
    Parsed,
    Rejected,
    Route,
    Router,
    flag,
    json_answer,
)
from fake_providers.control.rules_api import rule_routes
from fake_providers.http.answers import WholeAnswer, whole_answer
from fake_providers.http.slow_clients import KEEP_ALIVE_S
from fake_providers.prompt.instances import is_about

NDJSON: Final = b"application/x-ndjson"


def snapshot(shared: SharedState) -> dict[str, Any]:
    """``/control/now``: the state at ``at_ns``."""
    recorder = shared.recorder
    return {
        "at_ns": shared.clock.stamp(),
        "arrived": recorder.arrived,
        "last_arrival_ns": recorder.last_arrival_ns,
        "open": recorder.open,
        "in_flight": recorder.metrics.in_flight(),
        "held": [
            {
                "provider": call.provider,
                "call": call.call,
                "run": call.run,
                "nonces": call.nonces,
                "gate": call.gate,
                "at": call.held_at,
                "read_ns": call.read_ns,
            }
            for call in shared.gates.held()
        ],
        "lists": shared.lists.snapshot(),
        **({"token_counts": recorder.counted} if recorder.counted else {}),
        "stalled_ns": recorder.stalled_ns,
    }


def control_router(
    shared: SharedState, access: Access, *, about: dict[str, Any], ledger: Path | None
) -> Router:
    """The routes of the API. ``about`` is the answer of ``/control/health``."""
    routes = [
        *_views(shared, about=about, ledger=ledger),
        *_gates(shared),
        *_lists(shared),
        *_settings(shared),
        _metrics(shared),
        *rule_routes(shared),
    ]
    return Router(
        [*routes, *document_routes(routes, needs_token=access.needs_token)],
        access=access,
        clock=shared.clock,
        record=shared.recorder.record_control,
    )


def _views(shared: SharedState, *, about: dict[str, Any], ledger: Path | None) -> list[Route]:
    def health(_: Parsed) -> WholeAnswer:
        return json_answer(about)

    def now(_: Parsed) -> WholeAnswer:
        return json_answer(snapshot(shared))

    def read_ledger(parsed: Parsed) -> FileAnswer:
        closed = flag(parsed, "closed")
        if ledger is None:
            raise Rejected(404, "These fakes were started without a ledger: use --ledger FILE.")
        # Size and footer belong to one moment: nothing is awaited in between.
        size, last_line = shared.recorder.written, b""
        if closed:
            footer = shared.recorder.footer()
            if footer is None:
                raise Rejected(409, "Requests are still open, so a copy cannot have a footer.")
            last_line = msgspec.json.encode(footer) + b"\n"
        return FileAnswer(content_type=NDJSON, path=ledger, size=size, last=last_line)

    return [
        Route(
            method="GET",
            path="/control/health",
            summary="Run, pid and URLs",
            handle=health,
            open_to_all=True,
        ),
        Route(method="GET", path="/control/now", summary="An atomic snapshot", handle=now),
        Route(
            method="GET",
            path="/control/ledger",
            summary="The ledger so far; closed: with a footer",
            handle=read_ledger,
            content_type=NDJSON,
            flags=("closed",),
            errors=(
                (404, "The fakes were started without a ledger."),
                (409, "Requests are open, so a copy cannot have a footer."),
            ),
        ),
    ]


def _settings(shared: SharedState) -> list[Route]:
    def default(parsed: Parsed) -> WholeAnswer:
        shared.default = replace(shared.default, **changes(parsed.body))
        now = shared.default
        return json_answer({"first_s": now.first_s, "gap_s": now.gap_s, "tokens": now.tokens})

    def transcripts(parsed: Parsed) -> WholeAnswer:
        shared.transcripts = parsed.body.on
        return json_answer({"on": shared.transcripts})

    def reset(_: Parsed) -> WholeAnswer:
        shared.gates.reset()
        shared.lists.reset()
        shared.default = shared.initial_default
        shared.rules.clear()
        shared.canaries.clear()
        shared.transcripts = False
        if shared.limits is not None:
            shared.limits.refill()
        shared.accept_delays_s.update(dict.fromkeys(shared.accept_delays_s, 0.0))
        for listener in shared.listeners.values():
            listener.turn(on=True)
        shared.keep_alive.seconds, shared.keep_alive.exact = KEEP_ALIVE_S, False
        return json_answer({})

    return [
        Route(
            method="POST",
            path="/control/default",
            summary="Change the default behaviour",
            handle=default,
            body=DefaultChange,
        ),
        Route(
            method="POST",
            path="/control/transcripts",
            summary="Record the bytes of each call that arrives, or no more",
            handle=transcripts,
            body=Transcripts,
        ),
        Route(
            method="POST",
            path="/control/reset",
            summary="Release everything and restore the behaviour of the start",
            handle=reset,
        ),
    ]


def _gates(shared: SharedState) -> list[Route]:
    def open_gate(parsed: Parsed) -> WholeAnswer:
        at_ns = shared.clock.stamp()
        return json_answer({"released": shared.gates.open(parsed.name), "at_ns": at_ns})

    def release_oldest(parsed: Parsed) -> WholeAnswer:
        at_ns = shared.clock.stamp()
        released = shared.gates.release(parsed.name, parsed.body.count)
        return json_answer({"released": released, "at_ns": at_ns})

    return [
        Route(
            method="POST",
            path="/control/gates/{name}/open",
            summary="Open a gate permanently",
            handle=open_gate,
        ),
        Route(
            method="POST",
            path="/control/gates/{name}/let-go",
            summary="Release the oldest calls at a gate",
            handle=release_oldest,
            body=Release,
        ),
    ]


def _lists(shared: SharedState) -> list[Route]:
    def change_lists(parsed: Parsed) -> WholeAnswer:
        change: ListsChange = parsed.body
        for provider, state in shared.lists.states.items():
            if is_about(change.provider, provider):
                for key, value in changes(change).items():
                    setattr(state, key, value)
        return json_answer(shared.lists.snapshot())

    def release_lists(parsed: Parsed) -> WholeAnswer:
        provider = None if parsed.body is None else parsed.body.provider
        at_ns = shared.clock.stamp()
        return json_answer({"released": shared.lists.release(provider), "at_ns": at_ns})

    return [
        Route(
            method="POST",
            path="/control/lists",
            summary="Change how fetches of the model lists are answered",
            handle=change_lists,
            body=ListsChange,
        ),
        Route(
            method="POST",
            path="/control/lists/release",
            summary="Release held fetches and hold no more",
            handle=release_lists,
            body=ListsRelease | None,
            body_required=False,
        ),
    ]


def _metrics(shared: SharedState) -> Route:
    exposition = Exposition(
        shared.recorder.metrics,
        held=lambda: Counter(call.provider for call in shared.gates.held()),
        stalled_ns=lambda: shared.recorder.stalled_ns,
    )

    def metrics(_: Parsed) -> WholeAnswer:
        return whole_answer(200, METRICS_TYPE, exposition.text())

    return Route(
        method="GET",
        path="/metrics",
        summary="Prometheus metrics",
        handle=metrics,
        content_type=METRICS_TYPE,
        open_to_all=True,
    )
