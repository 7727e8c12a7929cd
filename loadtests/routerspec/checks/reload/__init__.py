"""Whether a reload of the configuration goes unnoticed but for what it changes: reload/*."""

from __future__ import annotations

from routerspec.checks.reload import one_cap, serves, whole

CHECKS = (serves.SERVES, whole.WHOLE, one_cap.ONE_CAP)
