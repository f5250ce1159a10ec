"""`Cache-Control`, as clients write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.cache.policy import CacheUse, cache_use


@pytest.mark.parametrize(
    ("header", "use"),
    [
        ("", CacheUse.NORMAL),
        ("max-age=60", CacheUse.NORMAL),
        ("no-transform, only-if-cached", CacheUse.NORMAL),
        ("no-cache-please", CacheUse.NORMAL),
        ("no-cache", CacheUse.RENEW),
        ("No-Cache", CacheUse.RENEW),
        ("max-age=0", CacheUse.RENEW),
        ('no-transform,\tmax-age = "0"', CacheUse.RENEW),
        ("no-store", CacheUse.NONE),
        ("no-cache, no-store", CacheUse.NONE),
        (" no-store ,no-cache,", CacheUse.NONE),
    ],
)
def test_cache_control(header: str, use: CacheUse) -> None:
    assert cache_use(header) is use


@given(st.text())
def test_any_header_is_read(header: str) -> None:
    assert cache_use(header) in CacheUse
