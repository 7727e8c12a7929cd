"""OLD and NEW, as they are given: a run's folder, or a verdict as ``--format json`` prints it.

Decides what a path means. A folder is judged again from its files, which is the truth; a file is
believed as it stands. Refuses to know what is compared.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from routerspec.compare.compare import ToldVerdict
from routerspec.errors import UsageError
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.records.run import read_run
from routerspec.verdict import Verdict


def read(path: Path) -> ToldVerdict:
    """The verdict that lies at ``path``. Raises UsageError where there is none."""
    if path.is_dir():
        return told(judge.judge(read_run(path)))
    try:
        return _decoded(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"There is no {path}: give a run's folder, or a file made with "
            "`routerspec verify ... --format json > FILE`."
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not a verdict ({error}): make it with "
            "`routerspec verify ... --format json > FILE`."
        ) from None


def told(verdict: Verdict) -> ToldVerdict:
    """A verdict as it is told in JSON: the one shape in which two are compared."""
    return _decoded(report_json.encode(verdict).encode())


def _decoded(text: bytes) -> ToldVerdict:
    return msgspec.json.decode(text, type=ToldVerdict)
