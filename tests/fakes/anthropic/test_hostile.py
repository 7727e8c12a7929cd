"""Any JSON in any field is answered or refused: no request causes an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.in_process import MESSAGES, InProcess

WORDS = (
    *("type", "role", "content", "text", "tool_use", "tool_result", "id", "tool_use_id", "name"),
    *("input", "input_schema", "user", "assistant", "system", "custom", "thinking", "signature"),
    *("redacted_thinking", "data", "enabled", "adaptive", "tool", "any", "budget_tokens"),
    *("display", "format", "json_schema", "schema", "properties", "required", "AAAA"),
)
scalars = st.none() | st.booleans() | st.integers(-2, 3000) | st.sampled_from(WORDS) | st.floats(0)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=12,
)
blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_use", "tool_result", "thinking", "redacted_thinking"])},
    optional=dict.fromkeys(("text", "id", "name", "input", "tool_use_id", "signature"), values),
)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.lists(blocks, max_size=3) | st.text(max_size=2) | values,
        }
    ),
    max_size=3,
)
tools = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["f", "g"]), "input_schema": values}, optional={"type": values}
    ),
    max_size=2,
)
typed = st.fixed_dictionaries({"type": values}, optional={"name": values, "format": values})
NAMES = ("tools", "tool_choice", "system", "thinking", "stop_sequences", "output_config", "stream")
bodies = st.fixed_dictionaries(
    {"model": st.just("fake-chat"), "max_tokens": st.just(9) | values, "messages": messages},
    optional=dict.fromkeys(NAMES, values | typed) | {"tools": tools | values},
)


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens"])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(body=bodies, version=st.sampled_from(["2023-06-01", "2026-10-21"]))
def test_any_json(fakes: InProcess, path: str, body: dict[str, Any], version: str) -> None:
    received = fakes.send("anthropic", path, body, {"anthropic-version": version})
    assert received.status in {200, 400}
