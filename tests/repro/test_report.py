"""The report of `routerspec repro`: complete for a maintainer, and not misleading."""

from __future__ import annotations

import re

import pytest

from routerspec.checks import REGISTRY
from routerspec.markup.markdown import inline
from routerspec.records.run import RecordedRun, RouterCommand
from routerspec.repro.report import report_of
from routerspec.targets import Documented, load_target
from routerspec.verdict import CheckResult, Outcome
from tests.corpus import judged
from tests.corpus.make import HISTORIES

BAD = sorted(path.name for path in (HISTORIES / "bad").iterdir())
COMMAND = RouterCommand(
    command=("sh", "-c", "exec router --cap {cap} --port {port}"),
    env={"UP": "{openai_url}", "KEY": "{openai_key}"},
    files={"router.yaml": "cap: {cap}\ntext: '```'\n"},
    ready=None,
    values={"cap": "4", "openai_key": "sk-secret"},
    install="",
)


def found(name: str) -> tuple[RecordedRun, CheckResult]:
    verdict = judged.verdict(f"bad/{name}")
    (result,) = (c for c in verdict.checks if c.id == name.replace("--", "/"))
    return judged.recorded(f"bad/{name}"), result


def report(name: str, *, script: str | None = "SCRIPT", quoted: tuple[Documented, ...] = ()) -> str:
    recorded, result = found(name)
    assert result.outcome is Outcome.VIOLATED
    return report_of(recorded, result, script=script, command=COMMAND, documented=quoted)


@pytest.mark.parametrize("name", BAD)
def test_it_has_the_expectation_the_observation_and_the_record(name: str) -> None:
    text = report(name)
    _, result = found(name)
    assert result.witness is not None
    sentence = inline(result.witness.sentence)  # a bracket would begin a link
    for needed in (REGISTRY[result.id].promised, sentence, *result.witness.facts):
        assert needed in text
    assert "<summary>repro.py</summary>\n\n```python\nSCRIPT\n```" in text


@pytest.mark.parametrize("name", BAD)
def test_no_number_becomes_a_link_to_another_issue_of_the_tracker(name: str) -> None:
    prose = re.sub(r"(`+)[^`].*?\1", "", report(name), flags=re.DOTALL)
    assert not re.search(r"#\d", prose)


def test_the_configuration_is_filled_in_except_secrets_ports_and_urls() -> None:
    text = report("cap--streams")
    assert "\nexec router --cap 4 --port <PORT>\n" in text
    assert "UP=<OPENAI_URL>\nKEY=<OPENAI_KEY>" in text
    assert "sk-secret" not in text
    assert "````text\ncap: 4\ntext: '```'\n````" in text


def test_the_documentation_of_the_violated_promise_is_quoted() -> None:
    quoted = Documented(promise="cap", words="At most N.", source="https://example.org/docs")
    assert "> At most N." in report("cap--streams", quoted=(quoted,))
    assert "> At most N." not in report("answers--own", quoted=(quoted,))
    assert "please say so" in report("cap--streams")
    assert "no promise is broken" in report("overload--json-error")
    assert "No setting asks for this" in report("answers--own")


def test_without_a_script_there_is_the_harness() -> None:
    text = report("cap--streams", script=None)
    assert "repro.py" not in text
    assert "--only cap/streams" in text


def test_a_script_that_is_too_long_for_a_tracker_is_to_be_attached() -> None:
    assert "is attached" in report("cap--streams", script="x" * 70_000)


def test_targets_say_where_their_promises_stand() -> None:
    assert load_target("varnish").documented
