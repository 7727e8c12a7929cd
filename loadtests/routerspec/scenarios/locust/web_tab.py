"""Our part of Locust's own pages: a tab in its web UI, a section in its HTML report.

Decides texts and rows. Live figures are the fakes' own and only informative; what is proven is
taken from the judge's verdict on the run so far.

The tab uses Locust's interface for additional tables (``extended_tabs``): they are declared once,
and their rows are added to each ``/stats/requests``. Its HTML report has no such interface: the
section goes before the end of the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any, Final, Protocol

from routerspec.processes.control import Now

KEY: Final = "routerspec"
COLUMNS: Final = ("what", "now", "promised")

Row = dict[str, str]
"""A value for each of ``COLUMNS``."""


class Shown(Protocol):
    """A test that can be shown."""

    def rows(self) -> list[Row]:
        """The rows of the tab, now."""

    def section(self) -> str:
        """The section for the HTML report."""


def add_tab(web_ui: Any, shown: Callable[[], Shown]) -> None:
    """Make Locust's ``web_ui`` show the current test, live and in the reports it writes."""
    web_ui.template_args["extended_tabs"] = [{"title": "routerspec", "key": KEY}]
    web_ui.template_args["extended_tables"] = [
        {"key": KEY, "structure": [{"key": name, "title": name.capitalize()} for name in COLUMNS]}
    ]

    @web_ui.app.after_request
    def with_ours(response: Any) -> Any:
        from flask import request  # noqa: PLC0415 - Locust's; only its web UI has it

        if response.status_code != 200:
            return response
        if request.path.endswith("/stats/requests"):
            stats = json.loads(response.get_data())
            ours = [{"key": KEY, "data": shown().rows()}]
            response.set_data(json.dumps({**stats, "extended_stats": ours}))
        elif request.path.endswith("/stats/report"):
            response.set_data(with_section(response.get_data(as_text=True), shown().section()))
        return response


def with_section(page: str, section: str) -> str:
    """Locust's report with ``section`` at the end of its body, or at the end of the page."""
    before, tag, after = page.rpartition("</body>")
    return f"{before}{section}{tag}{after}" if tag else page + section


def live_rows(now: Now, cap: int | None, ttl_s: float | None) -> list[Row]:
    """The figures of this moment, by the fakes' own count."""
    promised = "" if cap is None else f"at most {cap}"
    peak = now.in_flight.all.peak
    rows = [
        _row("calls in flight", str(sum(now.open.values())), promised),
        _row("peak in flight, to their last byte", str(peak), promised),
    ]
    rows += [
        _row(
            f"model-list fetches, {provider}",
            f"{lists.fetches}, {lists.open} open",
            "" if ttl_s is None else f"one per {ttl_s:g} s",
        )
        for provider, lists in now.lists.items()
    ]
    return rows


def check_rows(checks: list[dict[str, Any]], judged: str) -> list[Row]:
    """What is proven so far, violations first. ``judged``: the time of the verdict, if any."""
    if not judged:
        return [_row("proven so far", "not judged yet", "")]
    violated = [check for check in checks if check["outcome"] == "violated"]
    rows = [_row(c["id"], f"VIOLATED: {c['summary']}", _sentence(c)) for c in violated]
    faults = [c["reason"] for c in checks if c["outcome"] in {"harness error", "not judged"}]
    summary = faults[0] if faults else f"{len(violated)} violated"
    return [*rows, _row("proven so far", f"{summary}, at {judged}", "")]


def report_section(checks: list[dict[str, Any]], folder: str) -> str:
    """The verdict as a section for Locust's HTML report."""
    lines = "".join(
        f"<tr><td>{escape(c['id'])}</td><td>{escape(c['outcome'])}</td>"
        f"<td>{escape(c['summary'] or c['reason'])}<br>{escape(_sentence(c))}</td></tr>"
        for c in checks
    )
    none = "<tr><td>The run was not judged.</td></tr>"
    return (
        '<section id="routerspec" style="font:15px sans-serif;max-width:1200px;margin:2rem auto;'
        'padding:1rem;background:#fff;color:#111"><h2>routerspec</h2>'
        f'<table cellpadding="6">{lines or none}</table>'
        f"<p>The run is in {escape(folder)}: <code>routerspec judge</code> prints the verdict with "
        "its witnesses.</p></section>"
    )


def _sentence(check: dict[str, Any]) -> str:
    return str((check.get("witness") or {}).get("sentence", ""))


def _row(what: str, now: str, promised: str) -> Row:
    return dict(zip(COLUMNS, (what, now, promised), strict=True))
