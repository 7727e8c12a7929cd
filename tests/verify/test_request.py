"""How checks are selected by name."""

from __future__ import annotations

import pytest

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.verify.request import QUICK, select


def test_no_selection_selects_everything() -> None:
    assert select(("",)) == tuple(REGISTRY)


def test_a_group_an_id_and_a_prefix() -> None:
    assert select(("slots",)) == tuple(name for name in REGISTRY if name.startswith("slots/"))
    assert select(("models/cached",)) == ("models/cached",)
    assert select(("models/one-fetch",)) == (
        "models/one-fetch-cluster",
        "models/one-fetch-cold",
        "models/one-fetch-on-expiry",
        "models/one-fetch-uncapped",
    )


def test_the_order_is_the_registrys_without_duplicates() -> None:
    assert select(("models/cached", "cap", "cap/streams")) == (
        *(name for name in REGISTRY if name.startswith("cap/")),
        "models/cached",
    )


def test_quick_is_five() -> None:
    assert len(select(QUICK)) == 5


def test_a_name_that_selects_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="routerspec list"):
        select(("cap", "slot/reached"))
