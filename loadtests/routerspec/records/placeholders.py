"""The rule of placeholders in a target's texts and a load plan's headers.

Exactly the names in ``PLACEHOLDERS`` are replaced, by pattern, and every other brace stays as it is
(nginx!).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

PLACEHOLDERS: Final = (
    "port",
    "dir",
    "cap",
    "models_ttl_s",
    "timeout_s",
    "workers",
    "replica",
    "replicas",
    "requests_per_minute",
    "tokens_per_minute",
    "budget",
    "window_s",
    "openai_url",
    "ollama_url",
    "anthropic_url",
    "openai_urls",
    "ollama_urls",
    "anthropic_urls",
    "openai_key",
    "ollama_key",
    "anthropic_key",
    "client_key",
    "model",
    "pid",
)
"""Beside these the URLs of further instances, ``openai_url_2``, ``ollama_url_3``, and the ports of
services: ``redis_port``."""

_PATTERN: Final = re.compile(
    r"\{("
    + "|".join(PLACEHOLDERS)
    + r"|(?:openai|ollama|anthropic)_url_[2-9]|[a-z][a-z0-9_]*_port)\}"
)


def fill(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its placeholders replaced; one that ``values`` lacks stays as it is."""
    return _PATTERN.sub(lambda found: values.get(found[1], found[0]), text)
