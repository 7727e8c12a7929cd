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
    "openai_url",
    "ollama_url",
    "anthropic_url",
    "openai_key",
    "ollama_key",
    "anthropic_key",
    "client_key",
    "model",
)

_PATTERN: Final = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def fill(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its placeholders replaced; one that ``values`` lacks stays as it is."""
    return _PATTERN.sub(lambda found: values.get(found[1], found[0]), text)
