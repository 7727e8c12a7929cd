"""The reports that a command writes beside what it prints: which, where, and when it cannot.

Decides that a place is tried before the load starts, and what GitHub's runner is given. Refuses to
know how a report looks.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from routerspec.errors import HarnessError, UsageError
from routerspec.history import history as histories
from routerspec.records.run import read_info, read_run
from routerspec.report import github, html, junit, markdown
from routerspec.verdict import Verdict

_PAGE = "report.html"
"""The page that every ``verify`` leaves in its run's folder."""
_MOST_BYTES = 50_000_000
"""Of a longer run reading it once more would take more than a second: then only if wished for."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name files."""
    files = parser.add_argument_group("reports, written beside what is printed")
    files.add_argument("--html", type=Path, metavar="FILE", help="one self-contained page")
    files.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML: a case a check")
    files.add_argument("--markdown", type=Path, metavar="FILE", help="a summary for a pull request")


def refuse_unwritable(options: argparse.Namespace) -> None:
    """Make the folders of the files that are wished for, and try to write there.

    Raises UsageError for one that cannot be written: before the load, not after it.
    """
    wished = list(_wished(options))
    for word, path in wished:
        if sum(path.absolute() == other.absolute() for _, other in wished) > 1:
            raise UsageError(f"{path} is named for two reports: give each a file of its own.")
        existed = path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8"):
                pass
            if not existed:
                path.unlink()
        except OSError as error:
            raise UsageError(
                f"{word} {path} cannot be written: {error.strerror}. Name a file in a folder "
                "where routerspec may write."
            ) from error


def _wished(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    for word in ("html", "junit", "markdown"):
        path: Path | None = getattr(options, word)
        if path is not None:
            yield f"--{word}", path


def write(verdict: Verdict, folder: Path, options: argparse.Namespace) -> None:
    """Write the files that were wished for. Raises HarnessError where one cannot be written."""
    makers: dict[str, Callable[[], str]] = {
        "--html": lambda: _html(verdict, folder),
        "--junit": lambda: junit.encode(verdict, read_info(folder), strict=options.strict),
        "--markdown": lambda: markdown.encode(verdict, read_info(folder)),
    }
    for word, path in _wished(options):
        try:
            path.write_text(makers[word](), encoding="utf-8")
        except OSError as error:
            raise HarnessError(f"{word} {path} could not be written: {error.strerror}.") from error


def _html(verdict: Verdict, folder: Path) -> str:
    return html.render(verdict, histories.build(read_run(folder)), str(folder))


def leave_page(verdict: Verdict, folder: Path, *, tell: bool = True) -> None:
    """Leave the page in the run's folder and say where; a full disk takes no verdict away."""
    page = folder / _PAGE
    size = sum(file.stat().st_size for file in folder.glob("starts/*/*.jsonl"))
    told = f"The report: {page}"
    try:
        if size > _MOST_BYTES:
            told = f"The report: `routerspec judge {folder} --html FILE` writes it."
        else:
            page.write_text(_html(verdict, folder), encoding="utf-8")
    except OSError as error:
        told = f"{page} could not be written: {error.strerror}."
    if tell:
        print(told, file=sys.stderr)


@contextmanager
def no_commands(options: argparse.Namespace, env: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile GitHub's runner obeys nothing: a table shows what routers said, line by line."""
    if env.get("GITHUB_ACTIONS") != "true" or options.format == "json":
        yield
        return
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        print(f"::{token}::", flush=True)


def tell_github(
    verdict: Verdict, folder: Path, options: argparse.Namespace, env: Mapping[str, str]
) -> None:
    """In a workflow of GitHub: the summary of the step, and annotations."""
    summary = env.get("GITHUB_STEP_SUMMARY", "")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown.encode(verdict, read_info(folder)) + "\n")
        except OSError as error:
            print(f"GITHUB_STEP_SUMMARY: {summary}: {error.strerror}.", file=sys.stderr)
    if env.get("GITHUB_ACTIONS") == "true" and options.format != "json":
        print(github.lines(verdict, strict=options.strict), end="")
