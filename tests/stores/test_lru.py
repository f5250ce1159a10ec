"""A bounded table that forgets what was longest not asked for."""

from hypothesis import given
from hypothesis import strategies as st

from silkline.stores.lru import Lru


def test_what_is_asked_for_stays() -> None:
    table: Lru[str, int] = Lru(30)
    for place, key in enumerate("abc"):
        table.put(key, place, 10)
    assert table.get("a") == 0
    table.put("d", 3, 10)
    assert [table.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_a_value_takes_the_place_of_the_older_one() -> None:
    table: Lru[str, int] = Lru(30)
    table.put("a", 1, 10)
    table.put("a", 2, 20)
    assert (table.get("a"), len(table), table.size_bytes) == (2, 1, 20)
    table.drop("a")
    table.drop("a")
    assert (table.get("a"), len(table), table.size_bytes) == (None, 0, 0)


def test_what_is_larger_than_all_is_not_kept() -> None:
    table: Lru[str, int] = Lru(30)
    table.put("a", 1, 31)
    assert (len(table), table.size_bytes) == (0, 0)


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20))))
def test_it_is_never_larger_than_its_capacity(capacity: int, puts: list[tuple[int, int]]) -> None:
    table: Lru[int, int] = Lru(capacity)
    sizes: dict[int, int] = {}
    for key, size in puts:
        table.put(key, size, size)
        sizes[key] = size
        kept = [size for key, size in sizes.items() if table.get(key) == size]
        assert table.size_bytes <= capacity
        assert table.size_bytes <= sum(kept)
        assert len(table) == len(kept) or len(table) < len(sizes)
