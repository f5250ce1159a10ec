"""What gateway processes share: counters, tables and locks, seen from several processes."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import ConfigError
from silkline.stores import memory
from silkline.stores.memory import PrivateTable, Region, SharedMemory, Table

ADDS = 2000
CHILD = """
import sys
from silkline.stores.memory import Region, SharedMemory
shared = SharedMemory(int(sys.argv[1]), 3, int(sys.argv[2]))
table, counter = shared.table(Region.LIMITS, 1), shared.counter(5)
for _ in range(int(sys.argv[3])):
    counter.add(1)
    with table.locked():
        until, first, second = table.get(b"key") or (0.0, 0.0, 0.0)
        table.put(b"key", (until, first + 1, second + 2))
"""


def child(shared: SharedMemory, process: int, code: str, *arguments: str) -> subprocess.Popen[str]:
    fd = shared.descriptor
    command = [sys.executable, "-c", code, str(fd), str(process), *arguments]
    return subprocess.Popen(command, pass_fds=(fd,), stdout=subprocess.PIPE, text=True)


def test_no_change_of_any_process_is_lost() -> None:
    shared = SharedMemory.create(3)
    children = [child(shared, process, CHILD, str(ADDS)) for process in (1, 2)]
    for each in children:
        each.communicate()
        assert each.returncode == 0
    assert shared.table(Region.LIMITS, 1).get(b"key") == (0.0, 2 * ADDS, 4 * ADDS)
    counter = shared.counter(5)
    assert (counter.own, counter.total, list(counter.each())) == (0, 2 * ADDS, [0, ADDS, ADDS])
    shared.forget(1)
    assert counter.total == ADDS
    assert shared.counter(4).total == 0


def test_a_lock_is_free_again_when_its_process_was_killed() -> None:
    shared = SharedMemory.create(2)
    code = (
        "import sys, time\nfrom silkline.stores.memory import Region, SharedMemory\n"
        "lock = SharedMemory(int(sys.argv[1]), 2, 1).lock(Region.ISOLATION)\n"
        "print(lock.try_acquire(), flush=True)\ntime.sleep(60)"
    )
    with child(shared, 1, code) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = shared.lock(Region.ISOLATION)
        assert not lock.try_acquire()
        assert shared.lock(Region.LIMITS).try_acquire()
        holder.kill()
        holder.wait()
        assert lock.try_acquire()
        lock.release()


@pytest.fixture(params=["private", "shared"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "private":
        return PrivateTable(memory.RECORDS)
    return SharedMemory.create(1).table(Region.QUARANTINE, 1)


def test_a_table_keeps_and_drops_records(table: Table) -> None:
    assert table.get(b"a") is None
    table.put(b"a", (1.0, 2.0, 3.0))
    table.put(b"b", (4.0, 5.0, 6.0))
    table.put(b"a", (7.0, 8.0, 9.0))
    assert (table.get(b"a"), table.get(b"b")) == ((7.0, 8.0, 9.0), (4.0, 5.0, 6.0))
    assert len(table) == 2
    table.drop(b"a")
    table.drop(b"a")
    assert (table.get(b"a"), len(table)) == (None, 1)


def test_a_full_shared_table_drops_records_that_end_soon() -> None:
    table = SharedMemory.create(1).table(Region.LIMITS, 1)
    for number in range(2 * memory.RECORDS):
        table.put(str(number).encode(), (float(number), 0.0, 0.0))
    assert len(table) <= memory.RECORDS
    assert all(table.get(str(2 * memory.RECORDS - n).encode()) for n in range(1, 1000))


@given(st.lists(st.tuples(st.binary(max_size=2), st.floats(allow_nan=False)), max_size=60))
def test_a_shared_table_is_a_dictionary(puts: list[tuple[bytes, float]]) -> None:
    shared = SharedMemory.create(1)
    table, expected = shared.table(Region.LIMITS, 1), {}
    for key, number in puts:
        table.put(key, (0.0, number, -number))
        expected[key] = (0.0, number, -number)
    assert all(table.get(key) == record for key, record in expected.items())
    assert len(table) == len(expected)


def test_more_counters_than_there_are_do_not_spill_into_the_next_process() -> None:
    shared = SharedMemory.create(2)
    shared.counter(memory.MAX_COUNTERS - 1).add(1)
    with pytest.raises(ConfigError, match="at most 255 workers and remotes"):
        shared.counter(memory.MAX_COUNTERS)


def test_a_process_that_dies_while_it_drops_a_record_hides_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    table = SharedMemory.create(1).table(Region.QUARANTINE, 1)
    table.put(b"a", (1.0, 2.0, 3.0))
    row = memory._ROW
    dying = SimpleNamespace(size=row.size, unpack_from=row.unpack_from, pack_into=die)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_ROW", dying)
        with pytest.raises(KeyboardInterrupt):
            table.drop(b"a")
    assert len(table) == 1
    table.drop(b"a")
    assert (table.get(b"a"), len(table)) == (None, 0)
