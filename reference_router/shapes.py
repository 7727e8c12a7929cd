"""How clients of the Messages and the Responses API are told of an error."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from reference_router.answer import Answer, ApiError, Shape

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_REQUEST_ID = "request-id"


def _messages_body(error: ApiError, request_id: str) -> bytes:
    """An error of Anthropic's own as it came; any other in its shape."""
    told = msgspec.json.decode(error.body)
    if told.get("type") == "error":
        return error.body
    otherwise = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _TYPES.get(error.status, otherwise)
    inner = {"type": kind, "message": told["error"].get("message") or ""}
    return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})


def _messages_whole(error: ApiError) -> Answer:
    headers = error.headers
    request_id = dict(headers).get(_REQUEST_ID)
    if request_id is None:
        request_id = _new_request_id()
        headers = (*headers, (_REQUEST_ID, request_id))
    return Answer(
        status=error.status, headers=headers, body=_messages_body(error, request_id), shape=MESSAGES
    )


def _messages_event(error: ApiError) -> bytes:
    """With its event line: without one no client of Anthropic's sees it."""
    return _event(_messages_body(error, _new_request_id()))


def _responses_event(error: ApiError) -> bytes:
    told: dict[str, Any] = msgspec.json.decode(error.body)["error"]
    flat = {
        "type": "error",
        "code": told.get("code") or told.get("type"),
        "message": told.get("message"),
        "param": told.get("param"),
    }
    return _event(msgspec.json.encode(flat))


def _event(data: bytes) -> bytes:
    return b"event: error\ndata: " + b" ".join(data.splitlines()) + b"\n\n"


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


MESSAGES = Shape(whole=_messages_whole, event=_messages_event)
RESPONSES = Shape(whole=ApiError.answer, event=_responses_event)
