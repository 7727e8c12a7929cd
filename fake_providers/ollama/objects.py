"""The objects that Ollama's API has for its models, and its error messages."""

from __future__ import annotations

import hashlib
from math import isinf
from typing import Any, Final

import msgspec

from fake_providers.records.clock import rfc3339

VERSION: Final = "0.12.0"
MODIFIED: Final = "2026-01-01T00:00:00.000000000Z"
MODIFIED_S: Final = 1_767_225_600
"""The same in seconds, for the /v1 routes."""
NEVER: Final = "2318-01-01T00:00:00Z"
"""Expiry of a model that is never unloaded."""
CONTEXT_LENGTH: Final = 4096

ERRORS: Final = {
    400: "invalid request",
    401: "unauthorized",
    403: "forbidden",
    404: "model not found",
    413: "request body too large",
    429: "too many requests",
    499: "request canceled",
    500: "model runner has unexpectedly stopped, this may be due to resource limitations",
    503: "server busy, please try again.  maximum pending requests exceeded",
}

_decode = msgspec.json.Decoder().decode


def error_text(status: int) -> str:
    """The message of an error without one of its own."""
    return ERRORS.get(status, ERRORS[500] if status >= 500 else ERRORS[400])


def names(epoch: int) -> tuple[str, ...]:
    """The models of this epoch."""
    marker = f"ollama-epoch-{epoch}:latest"
    return "fake-chat:latest", "fake-embed:latest", marker, "fake-think:latest"


def tagged(name: str) -> str:
    """The name with its tag."""
    return name if ":" in name else f"{name}:latest"


def only_embeds(name: str) -> bool:
    """Whether the model cannot chat."""
    return tagged(name) == "fake-embed:latest"


def thinks(name: str) -> bool:
    """Whether the model thinks before it answers."""
    return tagged(name) == "fake-think:latest"


def capabilities(name: str) -> list[str]:
    """The capabilities of this model in ``/api/show``."""
    if only_embeds(name):
        return ["embedding"]
    return ["completion", "tools", *(["thinking"] if thinks(name) else [])]


def parse(body: bytes) -> tuple[dict[str, Any], str]:
    """The fields of a body, and the error of Go's decoder, roughly; empty: none."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}, _complaint(body)
    if isinstance(fields, dict):
        return fields, ""
    return {}, f"json: cannot unmarshal {kind(fields)} into Go value of type api.Request"


def kind(value: object) -> str:
    """What Go calls the type of a JSON value."""
    names = {list: "array", str: "string", bool: "bool", dict: "object"}
    return names.get(type(value), "number")


def _complaint(body: bytes) -> str:
    text = body.decode("utf-8", "replace").lstrip()
    if not text:
        return "missing request body"
    if text[0] in '{["-0123456789tfn':
        return "unexpected EOF"
    return f"invalid character '{text[0]}' looking for beginning of value"


def tags_item(name: str) -> dict[str, Any]:
    """A model in ``/api/tags``."""
    return {
        "name": name,
        "model": name,
        "modified_at": MODIFIED,
        "size": 1_000_000_000,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": _details(),
    }


def ps_item(name: str, expires_s: float) -> dict[str, Any]:
    """A loaded model in ``/api/ps``."""
    item = tags_item(name)
    del item["modified_at"]
    expires_at = NEVER if isinf(expires_s) else rfc3339(expires_s)
    vram = {"size_vram": item["size"], "context_length": CONTEXT_LENGTH}
    return {**item, "expires_at": expires_at, **vram}


def show(name: str, *, verbose: bool) -> dict[str, Any]:
    """The answer of ``/api/show``."""
    information: dict[str, Any] = {
        "general.architecture": "fake",
        "general.parameter_count": 1_000_000_000,
        "fake.context_length": CONTEXT_LENGTH,
        "fake.embedding_length": 64,
        "tokenizer.ggml.tokens": ["<s>", "</s>"] if verbose else None,
    }
    content = {
        "license": "Apache-2.0",
        "modelfile": f"FROM {name}\n",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": _details(),
        "model_info": information,
        "capabilities": capabilities(name),
        "modified_at": MODIFIED,
    }
    return {**content, "tensors": []} if verbose else content


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "fake",
        "families": ["fake"],
        "parameter_size": "1.0B",
        "quantization_level": "Q8_0",
    }
