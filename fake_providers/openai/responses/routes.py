"""The small routes below /v1/responses: a stored response, and a count of tokens."""

from __future__ import annotations

from typing import Any, Final

from fake_providers.openai.refusals import Refusal
from fake_providers.openai.responses.stored import Stored
from fake_providers.prompt.sizes import prompt_tokens

PREFIX: Final = "/v1/responses/"


def other_route_of_responses(
    method: str, path: str, body: bytes, stored: Stored
) -> dict[str, Any] | Refusal:
    """The content of the answer, or its error."""
    response_id, _, rest = path.removeprefix(PREFIX).partition("/")
    if (method, response_id, rest) == ("POST", "input_tokens", ""):
        return {"object": "response.input_tokens", "input_tokens": prompt_tokens(len(body))}
    known = {"": ("GET", "HEAD", "DELETE"), "input_items": ("GET", "HEAD"), "cancel": ("POST",)}
    if method not in known.get(rest, ()):
        return Refusal(f"Invalid URL ({method} {path})", None, None, 404)
    turn = stored.get(response_id)
    if turn is None:
        return Refusal(f"Response with id '{response_id}' not found.", None, None, 404)
    if rest == "cancel":
        return Refusal("Only background responses can be cancelled.", None)
    if method == "DELETE":
        stored.remove(response_id)
        return {"id": response_id, "object": "response", "deleted": True}
    return _page(turn.given) if rest else turn.response


def _page(items: list[dict[str, Any]]) -> dict[str, Any]:
    """All items in one page, the newest first."""
    data = items[::-1]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return {"object": "list", "data": data, "has_more": False, **ends}
