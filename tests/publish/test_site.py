"""The site of published results: its pages, its badges, and the index in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from routerspec.checks import REGISTRY
from routerspec.checks.versions import FIRST, LATEST, VERSIONS, Level, level, of_version, since
from routerspec.errors import UsageError
from routerspec.publish import badge, publish, site
from routerspec.publish import folder as published
from routerspec.publish.conformance import conformance, levels
from routerspec.publish.rules import Background, Published, findings
from routerspec.report.words import word
from routerspec.targets import target_file
from routerspec.verdict import CheckResult, Kind, Outcome, Standing
from routerspec.verify.request import select
from tests.corpus.make import BAD, GOOD
from tests.publish.test_publish import REPORTS, runs
from tests.report.stories import HOSTILE, Page, verdict_of
from tests.support.browser import browse

FIRST_VERSION = 83


def result(
    *checks: CheckResult, target: str = "made-up", version: str = "1.0", day: int = 1
) -> Published:
    """Three runs with the same outcomes."""
    template = published.read_all(REPORTS)[0].infos[0]
    info = msgspec.structs.replace(
        template, target=target, version=version, started_at=f"2026-11-{day:02}T10:00:00+00:00"
    )
    verdict = verdict_of(*checks)
    place = f"{target.replace(':', '--')}/{version}"
    return Published(place=place, infos=(info,) * 3, verdicts=(verdict,) * 3)


def its(id_: str, outcome: Outcome, kind: Kind = Kind.MUST, known: str = "") -> CheckResult:
    return CheckResult(id=id_, kind=kind, outcome=outcome, known=known)


MIXED = (
    its("cap/streams", Outcome.HELD),
    its("cap/burst", Outcome.VIOLATED),
    its("slots/order", Outcome.HELD, Kind.OBSERVE),
    its("wire/text", Outcome.HELD),
    its("wire/ids", Outcome.VIOLATED, Kind.SHOULD),
    its("failover/served", Outcome.NOT_APPLICABLE),
)


def test_every_check_is_dated_and_the_first_version_never_grows() -> None:
    assert {since(id_) for id_ in REGISTRY} <= set(VERSIONS)
    assert len(list(of_version(REGISTRY, FIRST))) == FIRST_VERSION
    assert list(of_version(REGISTRY, LATEST)) == list(REGISTRY)
    measured = {id_ for id_ in REGISTRY if level(id_) is None}
    assert all(REGISTRY[id_].kind is Kind.OBSERVE for id_ in measured)


def test_an_older_version_of_the_spec_selects_none_that_is_newer() -> None:
    assert len(select(("",), FIRST)) == FIRST_VERSION
    assert select(("failover",))
    assert not set(select(("failover",))) & set(select(("",), FIRST))
    with pytest.raises(UsageError, match="leave out --spec"):
        select(("failover",), FIRST)


def test_what_applies_is_counted_and_what_observes_is_not() -> None:
    found = findings(result(*MIXED).verdicts)
    whole = conformance(found)
    assert (whole.held, whole.applies, whole.standing) == (2, 4, Standing.VIOLATED)
    assert [(each.level, each.words, each.standing) for each in levels(found)] == [
        (Level.CORE, "1 of 2", Standing.VIOLATED),
        (Level.ANSWERS, "1 of 2", Standing.DISCOURAGED),
    ]


def test_a_badge_says_level_version_and_outcome() -> None:
    made = dict(badge.files(result(*MIXED)))
    assert set(made) == {f"badge-{name}.{kind}" for name in ("core", "answers")
                         for kind in ("svg", "json")}  # fmt: skip
    said = json.loads(made["badge-core.json"])
    assert (said["label"], said["message"], said["color"]) == (
        f"routerspec core {FIRST}", "1 of 2 held", "red",
    )  # fmt: skip
    picture = ElementTree.fromstring(made["badge-core.svg"])
    assert picture.get("aria-label") == f"routerspec core {FIRST}: 1 of 2 held"


def test_a_published_result_has_its_target_file_and_its_page(tmp_path: Path) -> None:
    made = runs(tmp_path, GOOD["cap-held-on-every-route"], target="nginx")
    done = publish.publish(made, tmp_path / "reports")
    assert (done.folder / "target.toml").read_bytes() == target_file("nginx").read_bytes()
    page = Page((done.folder / "index.html").read_text())
    assert "checks that apply held" in page.text
    assert (tmp_path / "reports" / "index.html").exists()


def test_a_violation_stands_on_its_page_with_its_witness(tmp_path: Path) -> None:
    made = runs(tmp_path, BAD["cap/streams"], selected=("cap/streams",))
    done = publish.publish(made, tmp_path / "reports")
    (one,) = published.read_all(tmp_path / "reports")
    witness = one.verdicts[0].checks[0].witness
    assert witness is not None
    assert witness.sentence in Page((done.folder / "index.html").read_text()).text


def test_versions_of_one_target_list_what_changed() -> None:
    old = result(its("cap/streams", Outcome.VIOLATED), version="1.0", day=1)
    new = result(its("cap/streams", Outcome.HELD), version="1.1", day=9)
    other = result(its("cap/streams", Outcome.HELD), target="made-up:tuned", version="1.1")
    pages = site.pages((old, new, other), {})
    assert "cap/streams: violated to held" in Page(pages[f"{old.place}/index.html"]).text
    assert "Versions" not in Page(pages[f"{other.place}/index.html"]).text
    latest = {row["data-router"]: row["data-latest"] for row in Page(pages["index.html"]).all("tr")
              if "data-router" in row and row["data-version"] == "1.0"}  # fmt: skip
    assert latest == {"made-up": "no"}


def test_no_text_of_a_router_becomes_more_than_text() -> None:
    one = result(its("cap/streams", Outcome.HELD), target=HOSTILE, version=HOSTILE)
    background = Background(install=HOSTILE, documented=(("cap", HOSTILE, HOSTILE),))
    for text in site.pages((one,), {one.place: background}).values():
        shown = Page(text)
        assert len(shown.all("script")) <= 1
        assert not shown.all("img")


def test_the_site_of_what_is_published_is_up_to_date() -> None:
    for name, text in publish.site_of(REPORTS, published.read_all(REPORTS)).items():
        assert (REPORTS / name).read_text(encoding="utf-8") == text, name


_DRIVE = """<script>
const pick = (id, value) => { const e = document.getElementById(id); e.value = value;
    e.dispatchEvent(new Event("change", {bubbles: true})); };
const rows = () => [...document.querySelectorAll("tbody tr")].filter(r => !r.hidden);
const all = rows().length;
pick("check", "cap/streams"); pick("outcome", "held");
const held = rows().length;
const words = rows().every(r => r.querySelector(".chosen").textContent.includes("held"));
pick("outcome", "any");
const button = document.querySelector("th[data-sorts=held] button"); button.focus(); button.click();
const shares = rows().map(r => Number(r.cells[2].dataset.value));
const wide = [...document.querySelectorAll("body > *, .filters *")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1).length;
document.title = JSON.stringify({all, held, words, sorted: shares.every((s, i) => !i ||
    shares[i - 1] <= s), focus: document.activeElement === button, wide, width: innerWidth});
</script>"""


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_sorts_and_filters_the_index(width: int, tmp_path: Path) -> None:
    results = published.read_all(REPORTS)
    text = site.pages(results, {})["index.html"]
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert policy is not None
    file = tmp_path / "index.html"
    file.write_text(text.replace(policy[0], "").replace("</body>", f"{_DRIVE}</body>"))
    seen = re.search(r"<title>(.*?)</title>", browse(file, f"--window-size={width},900"))
    assert seen is not None
    said = json.loads(seen[1])
    held = [
        its
        for its in results
        for each in findings(its.verdicts)
        if each.result.id == "cap/streams" and word(each.result) == "held"
    ]
    assert said == {"all": len(results), "held": len(held), "words": True, "sorted": True,
                    "focus": True, "wide": 0, "width": width}  # fmt: skip


def test_the_script_of_the_index_may_run(tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    results = published.read_all(REPORTS)
    file.write_text(site.pages(results, {})["index.html"])
    assert f"{len(results)} of {len(results)} results" in browse(file)
