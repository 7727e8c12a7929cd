"""The control API: gates, lists, defaults, and what is so right now.

Decides the shapes of its JSON. Refuses to decide anything else: every route is one call into the
stage. No route waits between reading and answering, so each answer is one atomic snapshot.
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
from fake_providers.calls.provider import Stage
from fake_providers.calls.recorder import PROVIDERS
from fake_providers.control.rules_api import add_behaviours
from fake_providers.prompt.behaviour import LONGEST_S, MOST_TOKENS

READ_SIZE = 256 * 1024
ProviderName = Literal["openai", "ollama"]
GateName = Annotated[str, InPath(pattern=r"^[a-z0-9_.-]{1,64}$")]


class NdjsonResponse(StreamingResponse):
    """Records, a line each."""

    media_type = "application/x-ndjson"


class Refusal(BaseModel):
    """Every error of the control API."""

    detail: str


class LetGo(BaseModel):
    """How many may pass a gate."""

    model_config = ConfigDict(extra="forbid")
    count: int = Field(1, ge=1)


class ListsChange(BaseModel):
    """What is to change about the model lists; what is left out stays."""

    model_config = ConfigDict(extra="forbid")
    provider: ProviderName | None = None
    epoch: int = Field(0, ge=0)
    hold_next: int = Field(0, ge=0)
    delay_s: float = Field(0.0, ge=0, le=LONGEST_S)
    status: int | None = Field(None, ge=400, le=599)
    nonsense: Nonsense | None = None
    moving: bool = False


class ListsRelease(BaseModel):
    """Whose held fetches may go: one provider's, or all."""

    model_config = ConfigDict(extra="forbid")
    provider: ProviderName | None = None


class DefaultChange(BaseModel):
    """What is to change about the default behaviour; what is left out stays."""

    model_config = ConfigDict(extra="forbid")
    first_s: float = Field(0.0, ge=0, le=LONGEST_S)
    gap_s: float = Field(0.0, ge=0, le=LONGEST_S)
    tokens: int = Field(0, ge=0, le=MOST_TOKENS)


def snapshot(stage: Stage) -> dict[str, Any]:
    """``/control/now``: everything as it stands at ``at_ns``."""
    recorder = stage.recorder
    return {
        "at_ns": stage.clock.stamp(),
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
            for call in stage.gates.held()
        ],
        "lists": stage.lists.snapshot(),
        "stalled_ns": recorder.stalled_ns,
    }


def control_app(stage: Stage, *, about: dict[str, Any], ledger: Path | None) -> FastAPI:
    """The application. ``about`` is the answer of ``/control/health``."""
    app = FastAPI(
        title="fake_providers control",
        docs_url="/docs",
        redoc_url=None,
        responses={
            413: _told_as("The body is too large."),
            422: _told_as("The request makes no sense."),
        },
    )
    app.add_exception_handler(RequestValidationError, _one_sentence)
    _add_views(app, stage, about=about, ledger=ledger)
    _add_gates(app, stage)
    _add_lists(app, stage)
    _add_metrics(app, stage)
    add_behaviours(app, stage)
    return app


def _add_views(app: FastAPI, stage: Stage, *, about: dict[str, Any], ledger: Path | None) -> None:
    @app.get("/control/health")
    async def health() -> Response:
        return _json(about)

    @app.get("/control/now")
    async def now() -> Response:
        return _json(snapshot(stage))

    refusals: dict[int | str, dict[str, Any]] = {
        404: _told_as("There is no ledger."),
        409: _told_as("A copy cannot be closed."),
    }

    @app.get("/control/ledger", response_class=NdjsonResponse, responses=refusals)
    async def read_ledger(closed: bool = False) -> Response:
        if ledger is None:
            raise HTTPException(
                404, "These fakes were started without a ledger: say --ledger FILE."
            )
        # Size and footer are of one moment: nothing may be waited for in between.
        size, last_line = stage.recorder.written, b""
        if closed:
            footer = stage.recorder.footer()
            if footer is None:
                raise HTTPException(409, "Something is still open, so no copy can be closed.")
            last_line = msgspec.json.encode(footer) + b"\n"
        body = _chunks(ledger, size, last_line)
        return NdjsonResponse(body)

    @app.post("/control/default")
    async def default(change: Annotated[DefaultChange, Body()]) -> Response:
        stage.default = replace(stage.default, **_given(change))
        now = stage.default
        return _json({"first_s": now.first_s, "gap_s": now.gap_s, "tokens": now.tokens})

    @app.post("/control/reset")
    async def reset() -> Response:
        stage.gates.reset()
        stage.lists.reset()
        stage.default = stage.first_default
        stage.rules.clear()
        stage.canaries.clear()
        if stage.limits is not None:
            stage.limits.refill()
        stage.accept_delays_s.update(dict.fromkeys(stage.accept_delays_s, 0.0))
        return _json({})


def _add_gates(app: FastAPI, stage: Stage) -> None:
    @app.post("/control/gates/{name}/open")
    async def open_gate(name: GateName) -> Response:
        at_ns = stage.clock.stamp()
        return _json({"released": stage.gates.open(name), "at_ns": at_ns})

    @app.post("/control/gates/{name}/let-go")
    async def let_go(name: GateName, change: Annotated[LetGo, Body()]) -> Response:
        at_ns = stage.clock.stamp()
        return _json({"released": stage.gates.let_go(name, change.count), "at_ns": at_ns})


def _add_lists(app: FastAPI, stage: Stage) -> None:
    @app.post("/control/lists")
    async def change_lists(change: Annotated[ListsChange, Body()]) -> Response:
        for provider in PROVIDERS if change.provider is None else (change.provider,):
            for key, value in _given(change).items():
                setattr(stage.lists.states[provider], key, value)
        return _json(stage.lists.snapshot())

    @app.post("/control/lists/release")
    async def release_lists(change: Annotated[ListsRelease | None, Body()] = None) -> Response:
        provider = None if change is None else change.provider
        at_ns = stage.clock.stamp()
        return _json({"released": stage.lists.release(provider), "at_ns": at_ns})


def _add_metrics(app: FastAPI, stage: Stage) -> None:
    exposition = Exposition(
        stage.recorder.metrics,
        held=lambda: Counter(call.provider for call in stage.gates.held()),
        stalled_ns=lambda: stage.recorder.stalled_ns,
    )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(exposition.text(), media_type=CONTENT_TYPE_LATEST)


def _told_as(description: str) -> dict[str, Any]:
    return {"model": Refusal, "description": description}


def _given(change: BaseModel) -> dict[str, Any]:
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


async def _one_sentence(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return JSONResponse({"detail": "; ".join(faults) + "."}, status_code=422)
