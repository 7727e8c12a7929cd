"""Records answers of the fakes: ``python -m tests.wire.record RUN`` writes ``recorded.json``.

RUN is the folder of a run in which the scenario ``wire-answers`` was played.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from routerspec.history import history
from routerspec.records.run import read_run

FILE = Path(__file__).parent / "recorded.json"
FRAMED = frozenset(
    {"CRLF cut", "CR", "no space", "comments", "fields", "several data lines", "no last newline"}
)
"""Probes whose framing is not the usual one: it is varied by the tests."""
MOST = 16_000
"""Bytes of an answer that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One answer of a fake provider."""

    probe: str
    provider: str
    stream: bool
    request: str
    body: str
    spoken: str = ""
    """The dialect, where it is not the provider's usual one."""

    @property
    def dialect(self) -> str:
        """``openai``, ``ollama``, ``anthropic`` or ``responses``, as fronts are named."""
        return self.spoken or self.provider


def recorded() -> list[Recorded]:
    """What was recorded, in a fixed order."""
    return msgspec.json.decode(FILE.read_bytes(), type=list[Recorded])


def record(run: Path) -> list[Recorded]:
    """One answer for each probe, provider and mode of this run."""
    found: dict[tuple[str, str, bool], Recorded] = {}
    for start, played in history.build(read_run(run)).rounds("wire-answers"):
        for client in played.observations:
            for call in start.calls_of.get(client.nonce, ()):
                its = start.call_transcripts.get((call.provider, call.call))
                usual = played.round.part not in FRAMED and call.family == "chat"
                if its is None or its.response is None or not usual:
                    continue
                body = its.response.body.data or b""
                if its.response.status != 200 or len(body) > MOST:
                    continue
                one = Recorded(
                    probe=played.round.part,
                    provider=call.provider,
                    stream=call.stream,
                    request=(its.request.body.data or b"").decode(),
                    body=body.decode(),
                )
                found.setdefault((one.probe, one.provider, one.stream), one)
    return [found[key] for key in sorted(found)]


if __name__ == "__main__":
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(record(Path(sys.argv[1])))) + b"\n")
