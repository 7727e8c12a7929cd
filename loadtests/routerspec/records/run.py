"""A run on disk: its folders, its names, and whether it is complete.

RUN/run.json                            the request: target, promises, seed, checks
RUN/starts/NAME/start.json              one start of the router: settings, how it went
RUN/starts/NAME/router.json             how it was started
RUN/starts/NAME/evidence.jsonl          the fakes' records        (header .. footer)
RUN/starts/NAME/evidence-openai-2.jsonl those of a further instance of a provider
RUN/starts/NAME/observations.jsonl      the clients' records      (header .. footer)
RUN/starts/NAME/observations-1.jsonl    those of a further load process
RUN/starts/NAME/{router,fakes,load}.log
RUN/verdict.json                        written last; can be made again from the rest
"""

from __future__ import annotations

import gc
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from fake_providers.records import ledger
from fake_providers.records.evidence import Evidence
from routerspec.errors import HarnessError, UsageError
from routerspec.promises import Limits, Promises
from routerspec.records import cache, foreign, readers
from routerspec.records.columns import Packed
from routerspec.records.load_processes import observations_file
from routerspec.records.observations import Record
from routerspec.records.providers import further
from routerspec.scrub import SECRETS, public_command

FORMAT = 1
RUNS = Path(".routerspec/runs")
"""Where runs are written by default."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A fault during a start, and whose it was."""

    whose: Literal["harness", "router"]
    text: str
    at_ns: int


PATIENT_S = 60.0
"""How long a router may wait for a provider where no check needs a shorter timeout."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one start of the router, where they may differ from what is promised."""

    cap: int | None
    """None: no cap set, where the promise is a cap that can be unset."""
    models_ttl_s: float | None
    timeout_s: float = PATIENT_S
    workers: int = 1
    replicas: int = 1
    """How many of the router run."""
    limits: Limits | UnsetType = UNSET
    """Set where the promised limits of requests and tokens are on: they are off elsewhere."""

    @classmethod
    def as_promised(cls, promises: Promises) -> Settings:
        """The settings with which a router is to keep these promises."""
        return cls(
            cap=promises.cap.limit if promises.cap else None,
            models_ttl_s=promises.model_list.ttl_s if promises.model_list else None,
            workers=promises.workers,
        )


class ServiceCommand(msgspec.Struct, frozen=True, kw_only=True):
    """How a service was started that the router needs, with its placeholders."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str]
    install: str


class RouterCommand(msgspec.Struct, frozen=True, kw_only=True):
    """``router.json``: how this start of the router was started, with its placeholders."""

    command: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str]
    ready: str | None
    values: dict[str, str]
    """Placeholder -> value, but for keys and those that every start has anew."""
    install: str
    references: tuple[str, ...] = ()
    """The names of the secrets that command, env and files refer to, those of services too."""
    services: tuple[ServiceCommand, ...] = ()
    """What was started before it, in this order."""


class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """What was not played, or not to its end, on a start whose router failed, or has a limit of its
    own.
    """

    reason: str
    """A clause: ``the router served nobody any more``."""
    scenarios: tuple[str, ...]
    limited: bool = False
    """The router has another limit than its slots: it had not lost any."""
    at: str = ""
    """The one that was being played then; empty: it happened between two."""


class StartInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``start.json``: one start of the router with the scenarios that were played on it."""

    name: str
    token: str
    """The run token in every prompt of this start: nonces are dense within it."""
    attempt: int
    """1; 2 where inconclusive scenarios were played once more."""
    settings: Settings
    scenarios: tuple[str, ...]
    finished: bool
    """All its scenarios were played to their end, but for what was given up, and every file was
    closed."""
    router_exit: int | None = None
    """The exit status of a router that ended by itself while it was needed."""
    incidents: tuple[Incident, ...] = msgspec.field(default=(), name="troubles")
    given_up: GivenUp | UnsetType = UNSET
    fresh_of: str | UnsetType = UNSET
    """The start that had given up what was played here."""
    load_processes: tuple[int, ...] = ()
    """The further load processes whose records are here, each in a file of its own."""
    lost_load_processes: dict[int, str] = {}
    """Those whose records are not, or not whole, and why not: a clause. 0: the one that leads was
    killed."""


class RouteInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A route of the target, as the judge needs to know it."""

    name: str
    front: Literal["openai", "ollama", "anthropic", "responses"]
    modes: tuple[str, ...]
    implied: bool
    """The modes come from the short form: one that the router does not have is not a fault."""
    provider: Literal["", "openai", "ollama", "anthropic"] = ""
    """The provider that it is stated to lead to; empty: none was stated."""
    fallbacks: tuple[tuple[str, str], ...] = ()
    """(provider, model that is asked for there), in the order in which they are tried."""


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: what a run is to verify."""

    format: int = FORMAT
    run: str
    target: str
    version: str
    routerspec: str
    command: str
    seed: int
    started_at: str
    promises: Promises
    routes: tuple[RouteInfo, ...]
    instances: dict[str, int] = {}
    """Provider -> its number of servers, where there are several."""
    spec: str = ""
    """The version of the spec that it is held to; empty: it was not kept yet."""
    selected: tuple[str, ...] | Literal["all"]
    """The ids of the selected checks; ``all``: whatever checks there are when it is judged."""
    starts: tuple[str, ...] = ()
    """Names of the starts, in the order in which they began."""
    not_applicable: dict[str, str] = {}
    """Check id -> why this target or this way of running cannot have it judged."""
    known: dict[str, str] = {}
    """Check id -> the public issue under which its violation is known."""
    not_played: dict[str, tuple[str, ...]] | UnsetType = UNSET
    """Start -> the scenarios that were planned on it, where ``--fail-fast`` left it out."""


class RecordedStart(msgspec.Struct, frozen=True, kw_only=True):
    """One start as read back: ``None`` footers and an empty header mean a truncated file."""

    info: StartInfo
    evidence: ledger.Records[Evidence]
    observations: ledger.Records[Record]
    further: dict[str, ledger.Records[Evidence]] = {}
    """Instance -> its evidence, of those beyond the first of each provider."""
    load_processes: dict[int, ledger.Records[Record]] = {}
    """The observations of further load processes."""

    @property
    def evidence_files(self) -> dict[str, ledger.Records[Evidence]]:
        """All evidence by the instance that it is of; empty: the first of each provider."""
        return {"": self.evidence, **self.further}

    @property
    def observation_files(self) -> dict[int, ledger.Records[Record]]:
        """All observations by the load process that they are of; 0: the one that led."""
        return {0: self.observations, **self.load_processes}


class RecordedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run as read back from its folder."""

    info: RunInfo
    starts: tuple[RecordedStart, ...]


def evidence_file(instance: str = "") -> str:
    """The name of the file of records of the fakes, or of a further ``instance``."""
    return f"evidence-{instance}.jsonl" if instance else "evidence.jsonl"


def new_token() -> str:
    """A run token: six of ``a-z0-9``."""
    alphabet = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(6))


class RunFolder:
    """The folder of a run that is being made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, label: str) -> RunFolder:
        """Make a new folder under ``runs``; its parent keeps itself out of git.

        Raises HarnessError where it cannot be written.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = runs / f"{stamp}-{label}-{secrets.token_hex(2)}"
        try:
            runs.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)  # a router's files in it may hold keys
            (path / "starts").mkdir()
            ignore = runs.parent / ".gitignore"
            if runs.parent.name == ".routerspec" and not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise HarnessError(
                f"The run's folder {path} cannot be made: {error.strerror}. Run routerspec where "
                "it may write, or say --runs FOLDER."
            ) from error
        return cls(path.resolve())

    def start(self, name: str) -> Path:
        """The (new) folder of one start."""
        folder = self.path / "starts" / name
        folder.mkdir()
        return folder

    def write_info(self, info: RunInfo) -> None:
        """Write ``run.json``, over an earlier one. No key on the command line is kept."""
        info = msgspec.structs.replace(info, command=public_command(info.command))
        _write(self.path / "run.json", info)

    def write_start(self, info: StartInfo) -> None:
        """Write a start's ``start.json``, over an earlier one."""
        _write(self.path / "starts" / info.name / "start.json", info)


def _write(path: Path, record: msgspec.Struct) -> None:
    text = msgspec.json.format(msgspec.json.encode(record), indent=2).decode()
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{SECRETS.hide(text)}\n", encoding="utf-8")
    fresh.replace(path)


def write_private(path: Path, text: str | bytes) -> None:
    """Write a new file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's search for cycles: millions of records have none, and take long to walk."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def read_info(folder: Path) -> RunInfo:
    """Read what a run is to verify. Raises UsageError where ``folder`` is none."""
    if not (folder / "run.json").exists():
        raise UsageError(f"{folder} is not a run: it has no run.json.")
    info = foreign.read_record(RunInfo, folder, "run.json")
    if info.format != FORMAT:
        raise UsageError(f"{folder} has format {info.format}; this version reads {FORMAT}.")
    foreign.within_reason(info.promises, folder / "run.json")
    foreign.instances(info.instances, folder / "run.json")
    for name in info.starts:
        foreign.start_name(name, folder / "run.json")
    # An older run has the command line as it was typed.
    return msgspec.structs.replace(info, command=public_command(info.command))


def read_run(folder: Path, *, only: tuple[str, ...] | None = None) -> RecordedRun:
    """Read a run folder. Raises UsageError where it is none; truncated files are not an error.

    ``only``: the starts to read; None: all of them.
    """
    info = read_info(folder)
    if only is not None:
        info = msgspec.structs.replace(info, starts=only)
    with uncollected():
        names = further(info.instances)
        starts = tuple(_read_start(folder, name, names) for name in dict.fromkeys(info.starts))
    return RecordedRun(info=info, starts=starts)


def _read_start(folder: Path, name: str, instances: tuple[str, ...]) -> RecordedStart:
    info = foreign.read_record(StartInfo, folder, "starts", name, "start.json")
    foreign.within_reason(info.settings, folder / "starts" / name / "start.json")
    foreign.load_processes(info.load_processes, folder / "starts" / name / "start.json")
    if info.name != name:
        raise UsageError(
            f"{folder / 'starts' / name / 'start.json'} is that of the start {info.name!r}. Use "
            "the run's folder as routerspec wrote it, or make a new run."
        )
    return RecordedStart(
        info=info,
        evidence=_read_records("evidence", folder, info, evidence_file()),
        observations=_read_records("observations", folder, info, observations_file()),
        further={
            each: _read_records("evidence", folder, info, evidence_file(each)) for each in instances
        },
        load_processes={
            each: _read_records("observations", folder, info, observations_file(each))
            for each in info.load_processes
        },
    )


def _read_records(
    role: readers.Role, folder: Path, start: StartInfo, file: str
) -> ledger.Records[Any]:
    for suffix in ("", ".xz"):
        foreign.file_in(folder, "starts", start.name, f"{file}{suffix}")
    path = folder / "starts" / start.name / file
    try:
        return cache.read(path, role, start.token)
    except (ValueError, OverflowError, RecursionError) as error:
        # None of ours: a number beyond 64 bits, bytes that are no text.
        fault = f"{path.name}: it cannot be read: {foreign.sentence(error)}"
        return ledger.Records(header=None, records=Packed(start.token), footer=None, fault=fault)
