"""``python -P -m tests.support.answers URL SECONDS``: exits with 0 as soon as something answers."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request


def main(url: str, within_s: float) -> int:
    """0: it answered, with whatever status; 1: not in time."""
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return 0
        except OSError:
            time.sleep(0.02)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
