"""The reports that a command writes besides its output: which, and where.

Tests that the files can be written before the load starts, and feeds GitHub's job summary and
annotations. How a report looks is decided in ``report``.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from routerspec.errors import HarnessError, UsageError
from routerspec.history import history as histories
from routerspec.records import timings
from routerspec.records.run import read_info, read_run
from routerspec.report import github, html, junit, markdown
from routerspec.verdict import Verdict

_PAGE = "report.html"
"""The page that every ``verify`` leaves in its run's folder."""
_MOST_BYTES = 50_000_000
"""Reading a larger run again would take more than a second: then only on request."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name files, and ``--timings``."""
    parser.add_argument(
        "--timings",
        action="store_true",
        help="print where the seconds went: each start and scenario, and the critical path",
    )
    files = parser.add_argument_group("report files")
    files.add_argument("--html", type=Path, metavar="FILE", help="self-contained HTML page")
    files.add_argument(
        "--junit", type=Path, metavar="FILE", help="JUnit XML, one test case per check"
    )
    files.add_argument(
        "--markdown", type=Path, metavar="FILE", help="Markdown summary for a pull request"
    )


def add_key_options(parser: argparse.ArgumentParser, what: str) -> None:
    """``--key`` and ``--key-file``; ``targets.sealing.key_from`` reads them."""
    parser.add_argument(
        "--key",
        default="",
        metavar="KEY",
        help=f"{what}; env:NAME takes it from the environment, which no other user can see",
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="file with that key, on one line"
    )


def refuse_unwritable(options: argparse.Namespace) -> None:
    """Create the directories of the requested files, and test that the files can be written.

    Raises UsageError for one that cannot, before the load starts.
    """
    requested = list(_requested(options))
    for option, path in requested:
        if sum(path.absolute() == other.absolute() for _, other in requested) > 1:
            raise UsageError(f"{path} is given for two reports.")
        existed = path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8"):
                pass
            if not existed:
                path.unlink()
        except OSError as error:
            raise UsageError(f"{option} {path} cannot be written: {error.strerror}.") from error


def _requested(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    for name in ("html", "junit", "markdown"):
        path: Path | None = getattr(options, name)
        if path is not None:
            yield f"--{name}", path


def write(verdict: Verdict, folder: Path, options: argparse.Namespace) -> None:
    """Write the requested files. Raises HarnessError where one cannot be written."""
    makers: dict[str, Callable[[], str]] = {
        "--html": lambda: _html(verdict, folder),
        "--junit": lambda: junit.encode(verdict, read_info(folder), strict=options.strict),
        "--markdown": lambda: markdown.encode(verdict, read_info(folder)),
    }
    for option, path in _requested(options):
        try:
            path.write_text(makers[option](), encoding="utf-8")
        except OSError as error:
            raise HarnessError(
                f"{option} {path} could not be written: {error.strerror}."
            ) from error


def _html(verdict: Verdict, folder: Path) -> str:
    its = None
    with suppress(UsageError):  # An older run has none.
        its = timings.read(folder)
    return html.render(verdict, histories.build(read_run(folder)), str(folder), its)


def leave_page(verdict: Verdict, folder: Path) -> str:
    """Write the page in the run's directory; a line that says where. A full disk is no error."""
    page = folder / _PAGE
    size = sum(file.stat().st_size for file in folder.glob("starts/*/*.jsonl"))
    message = f"Report: {page}"
    try:
        if size > _MOST_BYTES:
            message = f"Report: run `routerspec judge {folder} --html FILE`"
        else:
            page.write_text(_html(verdict, folder), encoding="utf-8")
    except OSError as error:
        message = f"{page} could not be written: {error.strerror}."
    return message


@contextmanager
def no_commands(options: argparse.Namespace, env: Mapping[str, str]) -> Iterator[None]:
    """Suspend GitHub's workflow commands: the table quotes text that came from routers."""
    if env.get("GITHUB_ACTIONS") != "true" or options.format == "json":
        yield
        return
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        print(f"::{token}::", flush=True)


def report_to_github(
    verdict: Verdict, folder: Path, options: argparse.Namespace, env: Mapping[str, str]
) -> None:
    """In a GitHub workflow: the step's summary, and annotations."""
    summary = env.get("GITHUB_STEP_SUMMARY", "")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown.encode(verdict, read_info(folder)) + "\n")
        except OSError as error:
            print(f"GITHUB_STEP_SUMMARY: {summary}: {error.strerror}.", file=sys.stderr)
    if env.get("GITHUB_ACTIONS") == "true" and options.format != "json":
        print(github.lines(verdict, strict=options.strict), end="")
