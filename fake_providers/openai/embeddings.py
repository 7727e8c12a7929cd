"""The embeddings object of OpenAI, which Ollama's /v1 has too.

Decides how vectors are packed and counted. Refuses to know headers, and what a vector says.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from fake_providers.calls.provider import Request
from fake_providers.content.text import vectors
from fake_providers.prompt.directives import DIMENSIONS
from fake_providers.prompt.sizes import prompt_tokens


def embeddings(request: Request) -> dict[str, Any]:
    """The answer to this request: a vector for each input, as numbers or as base64."""
    packed = request.fields.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if packed else vector}
        for index, vector in enumerate(vectors(request.fields["input"]) or [])
    ]
    count = prompt_tokens(request.size)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
