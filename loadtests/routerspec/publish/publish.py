"""Publish runs: from their folders to ``reports/``, and the matrix of all published results.

The verdict is judged from the scrubbed history that is published, and must equal that of the runs
themselves. Before anything is written, it is searched for names and values of this machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fake_providers.records.ledger import Records
from routerspec.errors import HarnessError, RouterspecError, UsageError, full_disk, is_full
from routerspec.judge.judge import judge
from routerspec.publish import badge, rules, site
from routerspec.publish import folder as published
from routerspec.publish import page as pages
from routerspec.publish.scrub import packed_text, scrubbed, strangers
from routerspec.records import foreign
from routerspec.records.load_plan import LoadPlan
from routerspec.records.load_processes import observations_file
from routerspec.records.run import RecordedRun, evidence_file, read_run
from routerspec.repro.table import REPROS
from routerspec.scrub import is_searchable
from routerspec.targets import Target, builtin_targets, load_target, target_file
from routerspec.verdict import Verdict

REPORTS: Final = Path("reports")
BENCH: Final = "bench.md"
"""The page of `routerspec bench --page`, in the reports."""
MATRIX: Final = "README.md"
BESIDE: Final = ("CONDUCT.md", BENCH, "speed.md")
"""Further pages that the site's index links, where they are there."""
TARGET_FILE: Final = "target.toml"
SMALL: Final = 1_000_000
"""Bytes that a published folder should stay under."""

_TOO_COMMON: Final = 6
"""A user's or machine's name shorter than this is a word, too."""
_TELLING: Final = 12
"""An environment value shorter than this is a word, too."""
_PUBLIC: Final = re.compile(r"https?://[^@?]*")
"""An address without a name or a key in it: build servers keep many in their environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A published result."""

    folder: Path
    size: int
    """Bytes, all files together."""
    replaced: bool
    """There was one of the same target and version."""


def publish(
    folders: Sequence[Path], reports: Path, *, target: str = "", as_version: str = ""
) -> Publication:
    """Publish the runs in ``folders`` together, and write the matrix anew.

    ``target`` names the target file that has the words of the documentation (default: the
    built-in that the runs were of). Raises UsageError for what may not be published.
    """
    runs = [_with_version(read_run(folder), as_version) for folder in folders]
    rules.refuse_runs(runs)
    runs = [_with_what_is_known(run, target) for run in runs]
    private = [word for folder in folders for word in _private_words(folder)]
    clean = [scrubbed(run, private, run.info.version) for run in runs]
    verdicts = [judge(run) for run in clean]
    _refuse_another_verdict(runs, verdicts)
    rules.refuse_verdicts([str(folder) for folder in folders], verdicts)
    # One history is kept whole: the one that has the witnesses.
    order = rules.most_proven_first(verdicts)
    clean, verdicts = [clean[at] for at in order], [verdicts[at] for at in order]
    info = clean[0].info
    place = Path(rules.target_word(info.target)) / rules.version_word(info.version)
    result = rules.Published(
        place=place.as_posix(),
        infos=tuple(run.info for run in clean),
        verdicts=tuple(verdicts),
    )
    page = pages.report(result, _background(info.target, target))
    files = published.files_of(clean[0], verdicts) | {"README.md": page.encode()}
    files |= dict(badge.files(result)) | _target_file(info.target, target)
    _refuse_strangers(clean, files)
    try:
        replaced = _put(reports / place, files)
    except OSError as error:
        raise _unwritable(reports, error) from error
    write_pages(reports)
    size = sum(map(len, files.values()))
    return Publication(folder=reports / place, size=size, replaced=replaced)


def write_pages(reports: Path) -> Path:
    """Write ``reports/README.md`` and the pages of the site from the published results.

    Returns the path of the first.
    """
    results = published.read_all(reports)
    made = {MATRIX: matrix(reports, results), **site_of(reports, results)}
    try:
        reports.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (reports / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(reports, error) from error
    return reports / MATRIX


def site_of(reports: Path, results: Sequence[rules.Published]) -> dict[str, str]:
    """Name within the reports -> text, of each page of the site as it should be."""
    backgrounds = {its.place: _kept_background(reports, its) for its in results}
    others = [MATRIX, *(name for name in BESIDE if (reports / name).is_file())]
    return site.pages(results, backgrounds, others)


def _kept_background(reports: Path, result: rules.Published) -> rules.Background:
    """What the target file beside a result says, or the built-in one."""
    file, title = reports / result.place / TARGET_FILE, result.infos[0].target
    if not file.is_file():
        return _background(title, "")
    variant = title.partition(":")[2]
    kept = _background(title, f"{file}:{variant}" if variant else str(file))
    return dataclasses.replace(kept, has_file=True)


def _target_file(title: str, word: str) -> dict[str, bytes]:
    """The target file, by its name in a published folder; nothing where none is known."""
    if _target_of(title, word) is None:
        return {}
    return {TARGET_FILE: target_file(word or title).read_bytes()}


def _unwritable(reports: Path, error: OSError) -> RouterspecError:
    if is_full(error):
        return HarnessError(full_disk(error))
    return UsageError(f"{reports} cannot be written: {error.strerror}. Name another: --reports.")


def matrix(reports: Path, results: Sequence[rules.Published]) -> str:
    """The text of ``reports/README.md`` as it should be."""
    text = pages.matrix(results)
    if (reports / BENCH).is_file():
        text += f"\nAll of them in one run, in turn: [{BENCH}]({BENCH}).\n"
    return text


def _with_version(run: RecordedRun, as_version: str) -> RecordedRun:
    if not as_version:
        return run
    return msgspec.structs.replace(run, info=msgspec.structs.replace(run.info, version=as_version))


def _with_what_is_known(run: RecordedRun, word: str) -> RecordedRun:
    """Issues that were found since the run was made are linked too: they change no outcome."""
    target = _target_of(run.info.target, word)
    if target is None:
        return run
    info = msgspec.structs.replace(run.info, known=run.info.known | target.known)
    return msgspec.structs.replace(run, info=info)


def _target_of(title: str, word: str) -> Target | None:
    """The target file that runs of ``title`` were of; None where no file is known."""
    if not word and title.partition(":")[0] not in builtin_targets():
        return None
    target = load_target(word or title)
    if target.title != title:
        raise UsageError(f"{word} is {target.title}, and the runs are of {title}.")
    return target


def _private_words(folder: Path) -> list[str]:
    """Private values of the run: its folder, and every key."""
    words = [str(folder.resolve()), str(Path.cwd())]
    for path in sorted(folder.glob("starts/*/plan.json")):
        plan = foreign.read_record(LoadPlan, folder, *path.relative_to(folder).parts)
        headers = [plan.headers, *(route.headers for route in plan.routes)]
        words += plan.secrets.values()
        values = [text.removeprefix("Bearer ") for each in headers for text in each.values()]
        # One that is a word, such as a provider's name, stands everywhere, and in every answer.
        words += filter(is_searchable, values)
    return words


def _background(title: str, word: str) -> rules.Background:
    """What the target file says about its router; nothing where no file is known."""
    target = _target_of(title, word)
    if target is None:
        return rules.Background()
    return rules.Background(
        homepage=target.homepage,
        install=target.install,
        documented=tuple((said.promise, said.words, said.source) for said in target.documented),
        scripted=frozenset(id_ for id_, repro in REPROS.items() if repro.round),
    )


def _refuse_another_verdict(runs: Sequence[RecordedRun], verdicts: Sequence[Verdict]) -> None:
    for run, verdict in zip(runs, verdicts, strict=True):
        own = {check.id: check.outcome for check in judge(run).checks}
        for check in verdict.checks:
            if own[check.id] is not check.outcome:
                raise HarnessError(
                    f"With private data removed, {check.id} is {check.outcome.value} instead "
                    f"of {own[check.id].value} in run {run.info.run}: it cannot be published."
                )


def _refuse_strangers(runs: Sequence[RecordedRun], files: dict[str, bytes]) -> None:
    """Raise UsageError if a file to be written contains anything of this machine."""
    machine = this_machine()
    texts = {name: text.decode() for name, text in files.items() if not name.endswith(".xz")}
    for start in runs[0].starts:
        parts: dict[str, Records[Any]] = {
            observations_file(number): its for number, its in start.observation_files.items()
        }
        parts |= {evidence_file(name): its for name, its in start.evidence_files.items()}
        for name, lines in parts.items():
            told = msgspec.json.encode((lines.header, lines.records)).decode()
            texts[f"starts/{start.info.name}/{name}"] = told + packed_text(lines.records)
    for name, text in texts.items():
        if found := strangers(text, machine):
            raise UsageError(
                f"{name} would contain {', '.join(found)} of this machine: nothing was "
                "published. Remove it from the target file or from the router's environment, and "
                "run `routerspec verify` again."
            )


def this_machine() -> dict[str, str]:
    """Name -> private text of this machine: folders, names, environment values."""
    names = {"the machine's name": platform.node()}
    with contextlib.suppress(OSError, KeyError):  # a user without a name
        names["the user's name"] = getpass.getuser()
    told = {what: name for what, name in names.items() if len(name) >= _TOO_COMMON}
    told |= {
        f"the value of {name}": value
        for name, value in os.environ.items()
        if len(value) >= _TELLING and not _PUBLIC.fullmatch(value)
    }
    folders = {
        "the home folder": str(Path.home()),
        "the current folder": str(Path.cwd()),
        "the folder for temporary files": tempfile.gettempdir(),
        "Python's folder": sys.prefix,
    }
    return told | {what: folder for what, folder in folders.items() if folder.strip("/")}


def _put(folder: Path, files: dict[str, bytes]) -> bool:
    """Write a published folder, in place of an earlier one; True where there was one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as fresh:
        published.write(Path(fresh, "new"), files)
        replaced = folder.exists()
        if replaced:
            shutil.rmtree(folder)
        Path(fresh, "new").rename(folder)
    return replaced
