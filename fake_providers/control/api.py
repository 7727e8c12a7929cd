"""The control API: snapshot, gates, lists, default behaviour, metrics, ledger.

No route waits between reading and answering, so each answer is one atomic snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from fake_providers.calls.metrics import Exposition
from fake_providers.calls.model_lists import Nonsense
from fake_providers.calls.provider import SharedState
from fake_providers.calls.recorder import PROVIDERS
from fake_providers.control.rules_api import add_rule_routes
from fake_providers.prompt.behaviour import MAX_TOKENS, MAX_WAIT_S

READ_SIZE = 256 * 1024
ProviderName = Literal["openai", "ollama"]
GateName = Annotated[str, InPath(pattern=r"^[a-z0-9_.-]{1,64}$")]


class NdjsonResponse(StreamingResponse):
    """Records, one per line."""

    media_type = "application/x-ndjson"


class Refusal(BaseModel):
    """Every error of the control API."""

    detail: str


class Release(BaseModel):
    """How many calls to release."""

    model_config = ConfigDict(extra="forbid")
    count: int = Field(1, ge=1)


class ListsChange(BaseModel):
    """Changes of the model lists; omitted fields stay."""

    model_config = ConfigDict(extra="forbid")
    provider: ProviderName | None = None
    epoch: int = Field(0, ge=0)
    hold_next: int = Field(0, ge=0)
    delay_s: float = Field(0.0, ge=0, le=MAX_WAIT_S)
    status: int | None = Field(None, ge=400, le=599)
    nonsense: Nonsense | None = None
    moving: bool = False


class ListsRelease(BaseModel):
    """Whose held fetches to release: one provider's, or all."""

    model_config = ConfigDict(extra="forbid")
    provider: ProviderName | None = None


class DefaultChange(BaseModel):
    """Changes of the default behaviour; omitted fields stay."""

    model_config = ConfigDict(extra="forbid")
    first_s: float = Field(0.0, ge=0, le=MAX_WAIT_S)
    gap_s: float = Field(0.0, ge=0, le=MAX_WAIT_S)
    tokens: int = Field(0, ge=0, le=MAX_TOKENS)


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
        "stalled_ns": recorder.stalled_ns,
    }


def control_app(shared: SharedState, *, about: dict[str, Any], ledger: Path | None) -> FastAPI:
    """The application. ``about`` is the answer of ``/control/health``."""
    app = FastAPI(
        title="fake_providers control",
        docs_url="/docs",
        redoc_url=None,
        responses={
            413: _error_response("The body is too large."),
            422: _error_response("The request is invalid."),
        },
    )
    app.add_exception_handler(RequestValidationError, _validation_error)
    _add_views(app, shared, about=about, ledger=ledger)
    _add_gates(app, shared)
    _add_lists(app, shared)
    _add_metrics(app, shared)
    add_rule_routes(app, shared)
    return app


def _add_views(
    app: FastAPI, shared: SharedState, *, about: dict[str, Any], ledger: Path | None
) -> None:
    @app.get("/control/health")
    async def health() -> Response:
        return _json(about)

    @app.get("/control/now")
    async def now() -> Response:
        return _json(snapshot(shared))

    refusals: dict[int | str, dict[str, Any]] = {
        404: _error_response("The fakes were started without a ledger."),
        409: _error_response("Requests are open, so a copy cannot have a footer."),
    }

    @app.get("/control/ledger", response_class=NdjsonResponse, responses=refusals)
    async def read_ledger(closed: bool = False) -> Response:
        if ledger is None:
            raise HTTPException(
                404, "These fakes were started without a ledger: use --ledger FILE."
            )
        # Size and footer belong to one moment: no await in between.
        size, last_line = shared.recorder.written, b""
        if closed:
            footer = shared.recorder.footer()
            if footer is None:
                raise HTTPException(409, "Requests are still open, so a copy cannot have a footer.")
            last_line = msgspec.json.encode(footer) + b"\n"
        body = _chunks(ledger, size, last_line)
        return NdjsonResponse(body)

    @app.post("/control/default")
    async def default(change: Annotated[DefaultChange, Body()]) -> Response:
        shared.default = replace(shared.default, **_set_fields(change))
        now = shared.default
        return _json({"first_s": now.first_s, "gap_s": now.gap_s, "tokens": now.tokens})

    @app.post("/control/reset")
    async def reset() -> Response:
        shared.gates.reset()
        shared.lists.reset()
        shared.default = shared.initial_default
        shared.rules.clear()
        shared.canaries.clear()
        if shared.limits is not None:
            shared.limits.refill()
        shared.accept_delays_s.update(dict.fromkeys(shared.accept_delays_s, 0.0))
        return _json({})


def _add_gates(app: FastAPI, shared: SharedState) -> None:
    @app.post("/control/gates/{name}/open")
    async def open_gate(name: GateName) -> Response:
        at_ns = shared.clock.stamp()
        return _json({"released": shared.gates.open(name), "at_ns": at_ns})

    @app.post("/control/gates/{name}/let-go")
    async def release_oldest(name: GateName, change: Annotated[Release, Body()]) -> Response:
        at_ns = shared.clock.stamp()
        return _json({"released": shared.gates.release(name, change.count), "at_ns": at_ns})


def _add_lists(app: FastAPI, shared: SharedState) -> None:
    @app.post("/control/lists")
    async def change_lists(change: Annotated[ListsChange, Body()]) -> Response:
        for provider in PROVIDERS if change.provider is None else (change.provider,):
            for key, value in _set_fields(change).items():
                setattr(shared.lists.states[provider], key, value)
        return _json(shared.lists.snapshot())

    @app.post("/control/lists/release")
    async def release_lists(change: Annotated[ListsRelease | None, Body()] = None) -> Response:
        provider = None if change is None else change.provider
        at_ns = shared.clock.stamp()
        return _json({"released": shared.lists.release(provider), "at_ns": at_ns})


def _add_metrics(app: FastAPI, shared: SharedState) -> None:
    exposition = Exposition(
        shared.recorder.metrics,
        held=lambda: Counter(call.provider for call in shared.gates.held()),
        stalled_ns=lambda: shared.recorder.stalled_ns,
    )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(exposition.text(), media_type=CONTENT_TYPE_LATEST)


def _error_response(description: str) -> dict[str, Any]:
    return {"model": Refusal, "description": description}


def _set_fields(change: BaseModel) -> dict[str, Any]:
    return {key: getattr(change, key) for key in change.model_fields_set if key != "provider"}


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _chunks(path: Path, size: int, last_line: bytes) -> AsyncIterator[bytes]:
    """The first ``size`` bytes of the file, then ``last_line``."""
    with path.open("rb") as file:
        while size and (chunk := file.read(min(size, READ_SIZE))):
            size -= len(chunk)
            yield chunk
    yield last_line


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return JSONResponse({"detail": "; ".join(faults) + "."}, status_code=422)
