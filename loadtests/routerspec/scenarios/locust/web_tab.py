"""What Locust's own pages say of the run: a tab in its web UI, a section in its HTML report.

Decides words and rows. The figures are the fakes' own at this moment, and say how it goes; what is
proven is said by the judge alone, of the run so far. Refuses to know how either comes about.

The tab goes the way that Locust has for tables of others (``extended_tabs``): they are named once,
and their rows come with each ``/stats/requests``. Its HTML report has no such way: the section is
put before the end of the body.
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
    """A test, as it is shown."""

    def rows(self) -> list[Row]:
        """For the tab, now."""

    def section(self) -> str:
        """For the HTML report."""


def add_tab(web_ui: Any, shown: Callable[[], Shown]) -> None:
    """Have ``web_ui`` (Locust's) show the test of the moment, live and in the report it makes."""
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
            told = json.loads(response.get_data())
            ours = [{"key": KEY, "data": shown().rows()}]
            response.set_data(json.dumps({**told, "extended_stats": ours}))
        elif request.path.endswith("/stats/report"):
            response.set_data(with_section(response.get_data(as_text=True), shown().section()))
        return response


def with_section(page: str, section: str) -> str:
    """Locust's report with ``section`` before the end of its body, or behind it all."""
    before, found, after = page.rpartition("</body>")
    return f"{before}{section}{found}{after}" if found else page + section


def live_rows(now: Now, cap: int | None, ttl_s: float | None) -> list[Row]:
    """How it goes at this moment, by the fakes' own count."""
    promised = "" if cap is None else f"at most {cap}"
    peak = now.in_flight.all.peak
    rows = [
        _row("calls in flight", str(sum(now.open.values())), promised),
        _row("most at once, to their last byte", str(peak), promised),
    ]
    rows += [
        _row(
            f"list fetches of {provider}",
            f"{lists.fetches}, {lists.open} open",
            "" if ttl_s is None else f"one each {ttl_s:g} s",
        )
        for provider, lists in now.lists.items()
    ]
    return rows


def check_rows(checks: list[dict[str, Any]], judged: str) -> list[Row]:
    """What is proven so far, violations first. ``judged``: when, empty for not yet."""
    if not judged:
        return [_row("proven so far", "not judged yet", "")]
    broken = [check for check in checks if check["outcome"] == "violated"]
    rows = [_row(c["id"], f"VIOLATED: {c['summary']}", _sentence(c)) for c in broken]
    faults = [c["reason"] for c in checks if c["outcome"] in {"harness error", "not judged"}]
    told = faults[0] if faults else f"{len(broken)} violated"
    return [*rows, _row("proven so far", f"{told}, at {judged}", "")]


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
        f"<p>The run lies in {escape(folder)}: <code>routerspec judge</code> says this again, with "
        "the witnesses.</p></section>"
    )


def _sentence(check: dict[str, Any]) -> str:
    return str((check.get("witness") or {}).get("sentence", ""))


def _row(what: str, now: str, promised: str) -> Row:
    return dict(zip(COLUMNS, (what, now, promised), strict=True))
