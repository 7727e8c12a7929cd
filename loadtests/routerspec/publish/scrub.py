"""The parts of a run that are published: everything that judging reads, and nothing private.

Decides field by field. Files that no judge reads (logs, plans, how the router was started, its
folder) are not published at all, so that nothing has to be searched out of them. What is left is
ours by construction but for a few fields: the machine's name and clock, the command line, and what
a router or the system said in an error. Those are rewritten here. Pure.

``strangers`` is the last look: whatever of this machine is still in a text stops the publishing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from fake_providers.records.evidence import Header
from fake_providers.records.ledger import Records
from fake_providers.records.transcripts import (
    CallTranscript,
    HttpRequest,
    HttpResponse,
    body_of,
)
from routerspec.records.observations import (
    ClientTranscript,
    ListObservation,
    Observation,
    RoundEnd,
)
from routerspec.records.run import RecordedRun, RecordedStart, RunInfo, StartInfo
from routerspec.scrub import KEY, SECRETS, public_command

PATH: Final = "<path>"
HIDDEN: Final = "<hidden>"

_FILE: Final = re.compile(
    r"(?<![\w/.:])(?:~|[A-Za-z]:\\|/(?:Applications|Library|System|Users|Volumes|app|bin|builds?"
    r"|data|etc|export|github|home|lib(?:32|64)?|media|mnt|nix|opt|private|proc|root|run|sbin|snap"
    r"|srv|src|sys|tmp|usr|var|work|workspaces?))(?:[/\\][^\s\"'`,;:)\]}>]*)+"
)
"""A file of some machine, in a message. A URL's path begins with none of these."""
_ERROR: Final = 400
_DROPPED: Final = ("--runs", "--format")
_KEPT: Final = ("--only", "--url", "--soak", "--ports", "--key")
"""Options whose value may have a slash or a dot in it without being a file."""


Message = TypeVar("Message", HttpRequest, HttpResponse)


def scrubbed(run: RecordedRun, private: Iterable[str], version: str) -> RecordedRun:
    """The run as it may be published, under ``version``.

    ``private`` are texts that must not be in it: the run's folder, keys that it was given.
    """
    scrub = _Scrub(private)
    return RecordedRun(
        info=scrub.info(run.info, version),
        starts=tuple(scrub.start(start) for start in run.starts),
    )


def packed_text(records: Iterable[Any]) -> str:
    """What stands in the records in packed form: the bodies of transcripts."""
    transcripts = (r for r in records if isinstance(r, CallTranscript | ClientTranscript))
    messages = (part for t in transcripts for part in (t.request, t.response) if part is not None)
    return "\n".join((message.body.data or b"").decode("latin-1") for message in messages)


class _Scrub:
    def __init__(self, private: Iterable[str]) -> None:
        self._private = sorted(filter(None, set(private)), key=len, reverse=True)
        self._clocks: dict[str, str] = {}

    def info(self, info: RunInfo, version: str) -> RunInfo:
        return msgspec.structs.replace(
            info,
            version=version,
            command=self.text(published_command(info.command)),
            not_applicable={id_: self.text(why) for id_, why in info.not_applicable.items()},
        )

    def start(self, start: RecordedStart) -> RecordedStart:
        return RecordedStart(
            info=self._start_info(start.info),
            evidence=self._records(start.evidence),
            observations=self._records(start.observations),
            further={name: self._records(each) for name, each in start.further.items()},
            load_processes={
                number: self._records(each) for number, each in start.load_processes.items()
            },
        )

    def _start_info(self, info: StartInfo) -> StartInfo:
        incidents = tuple(
            msgspec.structs.replace(
                incident, text=self.text(incident.text.partition(" The end of ")[0])
            )
            for incident in info.incidents
        )
        lost = {number: self.text(why) for number, why in info.lost_load_processes.items()}
        return msgspec.structs.replace(info, incidents=incidents, lost_load_processes=lost)

    def _records(self, records: Records[Any]) -> Records[Any]:
        header = records.header and msgspec.structs.replace(
            records.header, host=HIDDEN, boot=self._clock(records.header)
        )
        return Records(
            header=header,
            records=tuple(self._record(record) for record in records.records),
            footer=records.footer,
            fault=records.fault,
        )

    def _clock(self, header: Header) -> str:
        """Which clock it is can still be compared, whose it was not."""
        return self._clocks.setdefault(header.boot, f"clock-{len(self._clocks) + 1}")

    def _record(self, record: Any) -> Any:
        if isinstance(record, Observation | ListObservation) and record.error:
            return msgspec.structs.replace(record, error=self.text(record.error))
        if isinstance(record, RoundEnd) and record.incident:
            return msgspec.structs.replace(record, incident=self.text(record.incident))
        if isinstance(record, ClientTranscript):
            record = msgspec.structs.replace(record, fault=self.text(record.fault))
        if isinstance(record, CallTranscript | ClientTranscript):
            return msgspec.structs.replace(
                record,
                request=self._message(record.request),
                response=record.response and self._message(record.response),
            )
        return record

    def _message(self, message: Message) -> Message:
        """In the body of an answer, which both sides have, only keys and private text are hidden:
        a path in it is one of a prompt.
        """
        fields = tuple((name, self.text(value)) for name, value in message.fields)
        is_error = isinstance(message, HttpResponse) and message.status >= _ERROR
        before = (message.body.data or b"").decode("latin-1")
        after = self.text(before) if is_error else self._hidden(before)
        body = message.body if after == before else body_of(after.encode("latin-1"))
        return msgspec.structs.replace(message, fields=fields, body=body)

    def text(self, text: str) -> str:
        """A message without private text and without files of this machine."""
        return _FILE.sub(PATH, self._hidden(text))

    def _hidden(self, text: str) -> str:
        for word in self._private:
            text = text.replace(word, HIDDEN)
        return SECRETS.hide(text)


def published_command(command: str) -> str:
    """A command line for anybody: no key, no folders, the target file by its name."""
    kept: list[str] = []
    words = iter(shlex.split(public_command(command)))
    for word in words:
        option, is_joined, value = word.partition("=") if word.startswith("-") else (word, "", "")
        if option in _DROPPED:
            if not is_joined:
                next(words, None)
        elif option in _KEPT:
            kept += [option, value if is_joined else next(words, "")]
        else:
            kept.append(_file_name(word))
    return shlex.join(kept).replace(shlex.quote(KEY), KEY)


def _file_name(word: str) -> str:
    """``./my.toml`` for any path to it."""
    if "/" not in word or "://" in word or word.startswith("-"):
        return word
    return f"./{word.rpartition('/')[2]}"


def strangers(text: str, machine: Mapping[str, str]) -> list[str]:
    """Names of what ``text`` has in it of this machine: ``machine`` is name -> text."""
    return sorted(name for name, word in machine.items() if word in text)
