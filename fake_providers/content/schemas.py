"""Values of JSON schemas: what an answer in JSON, or the arguments of a tool call, must have."""

from __future__ import annotations

import json
from typing import Any


def json_frame(schema: object) -> tuple[str, str]:
    """The text around an answer that makes it JSON of this schema, in its first string property."""
    required = required_properties(schema) or {"answer": {"type": "string"}}
    strings = [name for name, kind in required.items() if kind.get("type") == "string"]
    carrier = strings[0] if strings else "answer"
    rest = {name: value_of(kind) for name, kind in required.items() if name != carrier}
    others = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rest.items())
    return f'{{{json.dumps(carrier)}: "', f'", {others}}}' if others else '"}'


def required_properties(schema: object) -> dict[str, dict[str, Any]]:
    """The required properties of a JSON schema, by name."""
    if not isinstance(schema, dict):
        return {}
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    return {
        name: properties[name]
        for name in required
        if isinstance(name, str) and isinstance(properties.get(name), dict)
    }


def value_of(schema: dict[str, Any], text: str = "", number: int = 1) -> Any:
    """A value of this schema's type: ``number``, or ``text`` for a string and an unknown type."""
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    values: dict[str, Any] = {
        "integer": number,
        "number": number,
        "boolean": True,
        "array": [],
        "object": {},
        "null": None,
    }
    return values.get(str(schema.get("type")), text)
