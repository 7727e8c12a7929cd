"""A request's body: an object of JSON whose fields stay as they came until somebody reads them.

What is not read is sent on byte for byte: integers of any size, unknown fields, escapes.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from reference_router.answer import ApiError

Body = dict[str, Any]
"""Name -> value, or ``msgspec.Raw`` where the value has not been read. In OpenAI's shape;
``model`` is the provider's own id."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_OBJECT = ord("{")
_READ = ("model", "stream")
"""Fields that every route reads."""


def parsed(body: bytes) -> Body:
    """A request's fields, ``model`` among them. Raises ApiError 400."""
    try:
        fields: Body = dict(_fields(body))
    except msgspec.ValidationError:
        raise _without_model() from None
    except msgspec.DecodeError as error:
        fields = _with_lone_surrogates(body, error)
    for name in _READ:
        if name in fields:
            fields[name] = field(fields, name)
    if not isinstance(fields.get("model"), str):
        raise _without_model()
    return fields


def field(body: Body, name: str) -> Any:
    """One field's value; None: it is absent. Raises ApiError 400."""
    return plain(body.get(name))


def plain(value: Any) -> Any:
    """What was kept as it came, read. Raises ApiError 400."""
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ApiError(400, f"The body cannot be read: {error}") from None


def choices_of(body: Body) -> int:
    """How many answers are wanted. Raises ApiError 400."""
    count = field(body, "n")
    return count if isinstance(count, int) else 1


def messages_of(body: Body) -> list[Any]:
    """The messages, each as it came. Raises ApiError 400 unless there are some, all objects."""
    messages = body.get("messages")
    if isinstance(messages, msgspec.Raw):
        try:
            messages = _items(messages)
        except msgspec.MsgspecError:
            messages = None
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "There are no messages.", param="messages")
    if not all(map(_is_object, messages)):
        raise ApiError(400, "Every message must be an object.", param="messages")
    return messages


def _is_object(value: Any) -> bool:
    if isinstance(value, msgspec.Raw):
        return memoryview(value)[0] == _OBJECT
    return isinstance(value, dict)


def _with_lone_surrogates(body: bytes, error: msgspec.DecodeError) -> Body:
    """The fields of a body that msgspec refuses for half a surrogate pair, which JSON allows."""
    try:
        fields = json.loads(body, parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise ApiError(400, f"The body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _without_model()
    kept: Body = {name: _written(value) for name, value in fields.items()}
    if isinstance(fields.get("messages"), list):
        kept["messages"] = [_written(message) for message in fields["messages"]]
    return kept


def _written(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value))


def _no_json(name: str) -> None:
    raise ValueError(name)


def _without_model() -> ApiError:
    return ApiError(400, "The body must be an object with a model.", param="model")
