"""The report of one violation: Markdown to paste into an issue tracker.

It is for readers who have never heard of routerspec. Text of the router's stands in fences, where
it is nothing but text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Final

from routerspec.checks import REGISTRY, Check
from routerspec.markup.markdown import address, code, fenced, inline, paragraph
from routerspec.promises import Cancel, Cap, Limits, ModelList, Promises, Retries
from routerspec.records.run import RecordedRun, RouterCommand
from routerspec.repro.setup import fill_in
from routerspec.repro.table import REPROS, Repro
from routerspec.targets import Documented
from routerspec.verdict import CheckResult, Kind

_MOST: Final = 60_000
"""Characters that trackers take in one text; a longer script is to be attached."""

_LEGEND: Final = """\
Times are seconds since the beginning of the round. A *fake* is a model server made for tests, \
which records every request that reaches it; it answers slowly, wrongly or not at all only where \
the test tells it to (*scripted*). A *nonce* is the number in a client's prompt, by which a call \
at the fake is matched to that client. *Held* means: read by the fake, and not yet answered. A \
*snapshot* asks all fakes at once which calls they hold. *Finished* is a call that the fake has \
ended as its dialect requires (`[DONE]`, `done: true`); *completed by the fake* may lack that. A \
route with its mode, such as `openai chat`, is the way to one provider and the kind of request."""


def report_of(
    recorded: RecordedRun,
    result: CheckResult,
    *,
    script: str | None,
    command: RouterCommand | None,
    documented: Iterable[Documented],
    environment: Sequence[str] = (),
) -> str:
    """The Markdown of one violation.

    ``script`` is the source of the script, None where there is none; ``command`` how the router was
    started, None where it ran already; ``documented`` what its documentation promises;
    ``environment`` names the keys that the script takes from its environment.
    """
    check, info, repro = REGISTRY[result.id], recorded.info, REPROS[result.id]
    assert result.witness is not None
    parts = [
        f"# {inline(f'{_name(recorded)}, {repro.subject}: {result.summary}')}",
        f"**Expected.** {check.promised} {_figures(repro, info.promises)}".rstrip(),
        *(_documented(repro, documented) or [_undocumented(check, repro)]),
        f"**Observed.** {inline(result.witness.sentence)}",
        *_known(info.known.get(result.id)),
        "## To reproduce",
        *_again(recorded, result.id, script, environment),
        *_configuration(command),
        "## What was recorded",
        fenced("\n".join(result.witness.facts)),
        _LEGEND,
        f"What counts as proof: {check.proved}",
        "## Suggested fix",
        check.fix,
        f"Bugs of this kind elsewhere: {_unlinked(check.bug)}",
        "## Versions",
        f"{paragraph(_name(recorded))}; routerspec {inline(info.routerspec)}, check "
        f"`{result.id}`; run of {inline(info.started_at)}, seed {info.seed}.",
    ]
    return "\n\n".join(parts) + "\n"


def _name(recorded: RecordedRun) -> str:
    """``litellm 1.106.2``; a version mostly begins with the name of what it is of."""
    target, version = recorded.info.target, recorded.info.version
    plain, _, variant = target.partition(":")
    own = version if version.startswith(plain) else f"{plain} {version}"
    return f"{own.strip()} (target {target})" if variant else own.strip()


def _figures(repro: Repro, promises: Promises) -> str:
    """The figures of the promise, as this run took them."""
    match getattr(promises, repro.promise) if repro.promise else None:
        case Cap() as cap:
            full = "queued" if cap.overload == "queue" else "refused"
            status = " or ".join(map(str, cap.reject_status))
            return (
                f"Here: at most {cap.limit} {cap.counts} at once, in one {cap.scope} scope; more "
                f"are {full} (a refusal has status {status})."
            )
        case ModelList(ttl_s=ttl_s):
            return f"Here: a list is cached for {ttl_s:g} s."
        case Cancel(within_s=within_s):
            return f"Here: within {within_s:g} s."
        case Retries(max=most):
            return f"Here: {most} retries are configured."
        case Limits() as limits:
            return f"Here: {_limits(limits)} for each {limits.scope}, in windows of " + (
                f"{limits.window_s:g} s ({limits.window})."
            )
    return ""


def _limits(limits: Limits) -> str:
    parts = (
        (limits.requests_per_minute, "requests"),
        (limits.tokens_per_minute, "tokens"),
        (limits.budget, "tokens in all"),
    )
    return " and ".join(f"at most {most} {what}" for most, what in parts if most)


def _documented(repro: Repro, documented: Iterable[Documented]) -> list[str]:
    """What the router's documentation says of the promise."""
    return [
        f"The documentation says ({address(said.source)}):\n\n> {paragraph(said.words)}"
        for said in documented
        if said.promise.partition(".")[0] == repro.promise
    ]


def _undocumented(check: Check, repro: Repro) -> str:
    """On what the expectation rests where no documentation is quoted for it."""
    if check.kind is not Kind.MUST:
        return "(This is a recommendation: no promise is broken.)"
    if repro.default:
        return "(No setting asks for this: clients rely on it whatever is configured.)"
    return (
        "(No documentation is quoted for this: it is what the configuration below is taken to "
        "promise. If it is not meant to, please say so.)"
    )


def _unlinked(text: str) -> str:
    """Issue numbers as code: a tracker would link them to its own issues."""
    return re.sub(r"(#\d+)", r"`\1`", text)


def _known(issue: str | None) -> list[str]:
    return [f"Known issue, or of the same kind: {address(issue)}"] if issue else []


def _again(
    recorded: RecordedRun, check: str, script: str | None, environment: Sequence[str]
) -> list[str]:
    info = recorded.info
    again = shlex.join(
        ["routerspec", "verify", info.target, "--only", check, "--seed", str(info.seed)]
    )
    harness = f"With routerspec {inline(info.routerspec)}, which found it: {code(again)}."
    if script is None:
        return [harness]
    how = (
        "`python repro.py` starts the router as below, between clients and two model servers of "
        "its own; it needs Python 3.11 or newer and the router, nothing else. It exits with status "
        "1 and `REPRODUCED.` when it has reproduced the violation, with 0 when it has not, and "
        "with 2 when it could not be tried."
    )
    if environment:
        names = ", ".join(f"`{name}`" for name in environment)
        how += f" It has no keys in it: set {names} in its environment."
    folded = f"<details><summary>repro.py</summary>\n\n{fenced(script, 'python')}\n\n</details>"
    where = folded if len(script) < _MOST else "The script is attached as `repro.py`."
    return [how, where, harness]


def _configuration(command: RouterCommand | None) -> list[str]:
    """How the router was started; what changes with every start is left to fill in."""
    if command is None:
        return []
    blank = {name for name in command.values if name.endswith("_key")}
    blank |= {"port", "dir", "openai_url", "ollama_url", "anthropic_url"}
    values = dict(command.values) | {name: f"<{name.upper()}>" for name in blank}

    def filled(text: str) -> str:
        return fill_in(text, values)

    shown = [f"{name}={filled(text)}" for name, text in command.env.items()]
    if command.command[:2] == ("sh", "-c"):  # a script already: quoted, it would be unreadable
        shown.append(filled(command.command[2]).strip())
    else:
        shown.append(" ".join(map(_quoted, map(filled, command.command))))
    parts = ["How the router was started:", fenced("\n".join(shown), "sh")]
    for name, text in command.files.items():
        parts += [f"{code(name)}:", fenced(filled(text).strip("\n"))]
    return parts


def _quoted(word: str) -> str:
    """As a shell wants it; what is to be filled in stays as it is."""
    return word if re.fullmatch(r"[\w@%+=:,./<>-]+", word) else shlex.quote(word)
