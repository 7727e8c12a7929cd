"""The verdict at a path: a run's folder, judged again, or a file that ``--format json`` printed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from routerspec.errors import UsageError
from routerspec.judge import judge
from routerspec.records.run import read_run
from routerspec.verdict import Verdict


def read(path: Path) -> Verdict:
    """The verdict at ``path``. Raises UsageError where there is none."""
    if path.is_dir():
        return judge.judge(read_run(path))
    try:
        return msgspec.json.decode(path.read_bytes(), type=Verdict)
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
