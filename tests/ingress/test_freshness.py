"""How long what an origin gave may be used again: RFC 9111 for a private cache."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from silkline.ingress.freshness import fresh_seconds

UNSAID = 300.0
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATE = ("Date", format_datetime(NOW, usegmt=True))


def fresh(*headers: tuple[str, str], status: int = 200) -> float:
    return fresh_seconds(status, CIMultiDict(headers), UNSAID)


def control(*values: str) -> float:
    return fresh(*(("cache-control", value) for value in values))


def expires(seconds: float) -> tuple[str, str]:
    return "Expires", format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("max-age=60", 60), ("MAX-AGE=60", 60), ("public, max-age=60", 60), ('max-age="60"', 60),
        ("private, max-age=60", 60), ("max-age = 60", 60), (",, max-age=60,", 60),
        ("max-age=60, s-maxage=5", 60), ("s-maxage=5", UNSAID), ("immutable", UNSAID),
        ("max-age=60, max-age=5", 60), ("max-age=60, must-revalidate", 60), ("", UNSAID),
        ("max-age=0", 0), ("max-age=-1", 0), ("max-age=1.5", 0), ("max-age=x", 0), ("max-age", 0),
        ("max-age=", 0), ("no-store", 0), ("no-cache", 0), ("max-age=60, no-store", 0),
        ("NO-STORE", 0), ('no-cache="set-cookie", max-age=60', 0), ("max-age=60; no-store", 0),
        ('private="a, no-store", max-age=60', 60), ("x=no-store", UNSAID),
    ],
)  # fmt: skip
def test_cache_control(value: str, seconds: float) -> None:
    assert control(value) == seconds


def test_a_field_may_come_in_several_lines() -> None:
    assert control("public", "max-age=60") == 60
    assert control("max-age=60", "no-store") == 0


def test_more_than_anything_is_for_ever() -> None:
    assert control("max-age=" + "9" * 400) == float("inf")


@pytest.mark.parametrize(
    ("age", "seconds"),
    [("0", 60), ("10", 50), ("60", 0), ("90", 0), ("10, 20", 50), ("x", 60), ("-5", 60)],
)
def test_age_counts(age: str, seconds: float) -> None:
    assert fresh(("Cache-Control", "max-age=60"), ("Age", age)) == seconds
    assert fresh(("Age", "100")) == UNSAID - 100


def test_expires_counts_from_the_date() -> None:
    assert fresh(expires(90), DATE) == 90
    assert fresh(expires(90), DATE, ("Age", "30")) == 60
    assert fresh(expires(-90), DATE) == 0
    assert fresh(expires(90), DATE, ("Cache-Control", "max-age=5")) == 5


def test_expires_without_a_date_counts_from_now() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < fresh(("Expires", soon)) <= 90


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "", "tomorrow", "Thu, 99 Jan 2030 00:00:00 GMT", "Tue, 1 Jan 99999999999 0:0:0 GMT",
     "Tue, 01 Jan 2030 00:00:00 +99999999999999"],
)  # fmt: skip
def test_an_expires_that_is_no_date_is_over(text: str) -> None:
    assert fresh(("Expires", text), DATE) == 0
    assert fresh(expires(90), ("Date", text)) == 0


def test_what_varies_by_everything_is_not_kept() -> None:
    assert fresh(("Vary", "*")) == 0
    assert fresh(("Vary", "accept, *"), ("Cache-Control", "max-age=60")) == 0
    assert fresh(("Vary", "accept")) == UNSAID


@pytest.mark.parametrize(
    ("status", "seconds"),
    [(200, UNSAID), (301, UNSAID), (308, UNSAID), (302, 0), (303, 0), (307, 0)],
)
def test_a_temporary_redirect_is_kept_only_when_its_origin_says_so(
    status: int, seconds: float
) -> None:
    assert fresh(status=status) == seconds
    assert fresh(("Cache-Control", "max-age=60"), status=status) == 60


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Cache-Control", "Expires", "Date", "Age", "Vary"]),
            st.text(max_size=40),
        ),
        max_size=6,
    )
)
def test_anything_can_be_read(headers: list[tuple[str, str]]) -> None:
    assert fresh(*headers) >= 0
