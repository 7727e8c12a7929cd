"""The report of one violation: Markdown, ready to paste into somebody's tracker.

Decides the words and their order, for a reader who has never heard of routerspec. Refuses to know
how the violation was found. What a router said stands in fences, where it is nothing but text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Final

from routerspec.checks import REGISTRY, Check
from routerspec.markup.elements import clean
from routerspec.promises import Promises
from routerspec.records.run import RecordedRun, RouterCommand
from routerspec.targets import Documented
from routerspec.verdict import CheckResult, Kind

_MOST: Final = 60_000
"""Characters that trackers take in one text; a longer script is to be attached."""

_LEGEND: Final = """\
Times are seconds since the beginning of the round. A *fake* is a model server made for tests, \
which records what reaches it; it answers slowly, wrongly or not at all only where the test tells \
it to (*as told*). A *nonce* is the number that a client's prompt carries, so that a call at the \
fake can be told to be that client's. *Held* means: read by the fake, and not yet answered. A \
*look* asks all fakes at once which calls they hold. *Finished* is a call whose end the fake sent \
as its dialect has it (`[DONE]`, `done: true`); *answered to its end* may be without. A route with \
its mode, such as `openai chat`, is the way to one provider and the kind of request."""

_SUBJECTS: Final = {
    "cap": "limit of requests at once",
    "slots": "limit of requests at once",
    "models": "model list",
    "answers": "answers",
    "cancel": "clients that hang up",
    "keys": "keys",
    "overload": "refusals when full",
}


def report_of(
    recorded: RecordedRun,
    result: CheckResult,
    *,
    script: str | None,
    words: RouterCommand | None,
    documented: Iterable[Documented],
) -> str:
    """The Markdown of one violation.

    ``script`` is the source of the script that shows it, None where there is none; ``words`` how
    the router was started, None where it ran already; ``documented`` what its makers say.
    """
    check, info = REGISTRY[result.id], recorded.info
    assert result.witness is not None
    family = result.id.partition("/")[0]
    parts = [
        f"# {_name(recorded)}, {_SUBJECTS[family]}: {result.summary}",
        f"**Expected.** {check.promised} {_promises(result.id, info.promises)}".rstrip(),
        *(_documented(result.id, documented) or [_nobodys_words(check)]),
        f"**Seen.** {result.witness.sentence}",
        *_known(info.known.get(result.id)),
        "## To reproduce",
        *_again(recorded, result.id, script),
        *_configuration(words),
        "## What was recorded",
        _fenced("\n".join(result.witness.facts)),
        _LEGEND,
        f"What counts as proof: {check.proved}",
        "## A way to mend it",
        check.fix,
        f"Bugs of this kind elsewhere: {_unlinked(check.bug)}",
        "## Versions",
        f"{_name(recorded)}; routerspec {info.routerspec}, check `{result.id}`; run of "
        f"{info.started_at}, seed {info.seed}.",
    ]
    return "\n\n".join(parts) + "\n"


def _name(recorded: RecordedRun) -> str:
    """``litellm 1.106.2``; a version mostly begins with the name of what it is of."""
    target, version = recorded.info.target, recorded.info.version
    plain, _, variant = target.partition(":")
    own = version if version.startswith(plain) else f"{plain} {version}"
    return f"{own.strip()} (target {target})" if variant else own.strip()


def _promises(check: str, promises: Promises) -> str:
    """The figures of the promise that is broken, as this run took them."""
    cap, lists = promises.cap, promises.model_list
    family = check.partition("/")[0]
    if family in {"cap", "slots", "overload"} and cap is not None:
        told = f"Here: at most {cap.limit} {cap.counts} at once, in one {cap.scope} scope; what is "
        full = "queued" if cap.overload == "queue" else "refused"
        status = " or ".join(map(str, cap.reject_status))
        return f"{told}too much is {full} (a refusal has status {status})."
    if family == "models" and lists is not None:
        return f"Here: a list is cached for {lists.ttl_s:g} s."
    if family == "cancel" and promises.cancel is not None:
        return f"Here: within {promises.cancel.within_s:g} s."
    if check == "answers/attempts" and promises.retries is not None:
        return f"Here: {promises.retries.max} retries are configured."
    return ""


def _documented(check: str, documented: Iterable[Documented]) -> list[str]:
    """What the makers themselves say of the promise."""
    of = {"cap": "cap", "slots": "cap", "overload": "cap", "models": "model_list"}
    of |= {"cancel": "cancel", "answers/attempts": "retries", "keys": "keys"}
    wanted = of.get(check) or of.get(check.partition("/")[0])
    return [
        f"The documentation says ({said.source}):\n\n> {clean(said.words)}"
        for said in documented
        if said.promise.partition(".")[0] == wanted
    ]


def _nobodys_words(check: Check) -> str:
    """On what the expectation stands where no documentation is quoted for it."""
    if check.kind is not Kind.MUST:
        return "(This is a recommendation: no promise is broken.)"
    if check.id.startswith(("answers/", "keys/")) and check.id != "answers/attempts":
        return "(No setting asks for this: clients rely on it whatever is configured.)"
    return (
        "(No words of the documentation are quoted for this: it is what the configuration below "
        "was taken to promise. If it is not meant to, please say so.)"
    )


def _unlinked(text: str) -> str:
    """Numbers of issues as code: a tracker would take them for its own."""
    return re.sub(r"(#\d+)", r"`\1`", text)


def _known(issue: str | None) -> list[str]:
    return [f"Known, or of the same kind: {issue}"] if issue else []


def _again(recorded: RecordedRun, check: str, script: str | None) -> list[str]:
    info = recorded.info
    harness = (
        f"With routerspec {info.routerspec}, which found it: `routerspec verify {info.target} "
        f"--only {check} --seed {info.seed}`."
    )
    if script is None:
        return [harness]
    how = (
        "`python repro.py` starts the router as below, between clients and two model servers of "
        "its own; it needs Python 3.11 or newer, the router, and nothing else. It ends with status "
        "1 and `SEEN AGAIN` when it has seen the violation, with 0 when it has not, and with 2 "
        "when it could not be tried."
    )
    folded = f"<details><summary>repro.py</summary>\n\n{_fenced(script, 'python')}\n\n</details>"
    where = folded if len(script) < _MOST else "The script is attached as `repro.py`."
    return [how, where, harness]


def _configuration(words: RouterCommand | None) -> list[str]:
    """How the router was started, but for what every start has anew."""
    if words is None:
        return []
    secrets = {name for name in words.values if name.endswith("_key")}

    def filled(text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            known = name in words.values and name not in secrets
            return words.values[name] if known else f"<{name.upper()}>"

        names = "|".join([*words.values, "port", "dir", "openai_url", "ollama_url"])
        return re.sub(rf"\{{({names})\}}", value, text)

    shown = [f"{name}={filled(text)}" for name, text in words.env.items()]
    if words.command[:2] == ("sh", "-c"):  # it is a script already: quoted, nobody could read it
        shown.append(filled(words.command[2]).strip())
    else:
        shown.append(" ".join(map(_quoted, map(filled, words.command))))
    parts = ["How the router was started:", _fenced("\n".join(shown), "sh")]
    for name, text in words.files.items():
        parts += [f"`{name}`:", _fenced(filled(text).strip("\n"))]
    return parts


def _quoted(word: str) -> str:
    """As a shell wants it; what is to be filled in stays as it is."""
    return word if re.fullmatch(r"[\w@%+=:,./<>-]+", word) else shlex.quote(word)


def _fenced(text: str, language: str = "text") -> str:
    """The text in a fence that is longer than any that it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean(text)}\n{fence}"
