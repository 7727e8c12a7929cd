"""The published folder: its files, written and read.

    reports/TARGET/VERSION/README.md           for people
    reports/TARGET/VERSION/run.json            the first run, as in its own folder,
    reports/TARGET/VERSION/starts/NAME/...     its records compressed: `routerspec judge` reads it
    reports/TARGET/VERSION/target.toml         the target file that the runs were made with
    reports/TARGET/VERSION/verdict.json        what the first run came to
    reports/TARGET/VERSION/verdict-2.json ...  what the others came to
    reports/TARGET/VERSION/badge-LEVEL.svg     a badge for each level, and for shields.io as .json
    reports/TARGET/VERSION/index.html          its page of the site
    reports/README.md, reports/index.html      all of them, side by side

Decides names and bytes: the same runs give the same files. xz makes them a third smaller than
gzip does, which keeps a whole run under a megabyte. Refuses to know what may be published.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from fake_providers.records.ledger import Records
from fake_providers.records.transcripts import CallTranscript
from routerspec.errors import UsageError
from routerspec.judge import verdict_json as report_json
from routerspec.publish.rules import Published
from routerspec.records import foreign
from routerspec.records.load_processes import observations_file
from routerspec.records.observations import ClientTranscript
from routerspec.records.run import RecordedRun, evidence_file, read_info
from routerspec.verdict import Verdict

_LONG: Final = 8_000_000


def files_of(run: RecordedRun, verdicts: Sequence[Verdict]) -> dict[str, bytes]:
    """Name within the published folder -> content, all but the README."""
    files = {"run.json": _pretty(run.info)}
    for start in run.starts:
        below = f"starts/{start.info.name}"
        files[f"{below}/start.json"] = _pretty(start.info)
        for name, evidence in start.evidence_files.items():
            files[f"{below}/{evidence_file(name)}.xz"] = _packed(evidence)
        for number, observations in start.observation_files.items():
            files[f"{below}/{observations_file(number)}.xz"] = _packed(observations)
    for number, verdict in enumerate(verdicts, start=1):
        files[_verdict_name(number)] = f"{report_json.encode(verdict)}\n".encode()
    return files


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a published folder that is not there yet."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read_all(reports: Path) -> tuple[Published, ...]:
    """Every published result, by name. Raises UsageError for one that cannot be read."""
    return tuple(_read(reports, path.parent) for path in sorted(reports.glob("*/*/run.json")))


def _read(reports: Path, folder: Path) -> Published:
    info = read_info(folder)
    verdicts: list[Verdict] = []
    while (folder / (name := _verdict_name(len(verdicts) + 1))).exists():
        verdicts.append(foreign.read_record(Verdict, folder, name))
    if not verdicts:
        raise UsageError(f"{folder} has no verdict.json: publish it again.")
    place = folder.relative_to(reports).as_posix()
    return Published(place=place, infos=(info,), verdicts=tuple(verdicts))


def _verdict_name(number: int) -> str:
    return "verdict.json" if number == 1 else f"verdict-{number}.json"


def _pretty(record: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def _packed(records: Records[Any]) -> bytes:
    encode = msgspec.json.Encoder().encode
    lines = [records.header, *map(_as_text, records.records), records.footer]
    text = b"".join(encode(line) + b"\n" for line in lines if line is not None)
    # Long ones are bodies that repeat themselves: looking harder takes a minute and finds no more.
    return lzma.compress(text, preset=5 if len(text) > _LONG else 6 | lzma.PRESET_EXTREME)


def _as_text(record: Any) -> Any:
    """A record in the form that xz makes small: it finds nothing in what is compressed already."""
    if not isinstance(record, CallTranscript | ClientTranscript):
        return record
    response = record.response
    return msgspec.structs.replace(
        record,
        request=msgspec.structs.replace(record.request, body=record.request.body.as_text()),
        response=response and msgspec.structs.replace(response, body=response.body.as_text()),
    )
