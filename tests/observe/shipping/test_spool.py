import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.observe.shipping.segment import HEADER_BYTES
from silkline.observe.shipping.spool import Batch, Spool

ROOM = 16 * 1024


def drained(spool: Spool, max_bytes: int = 1000) -> list[bytes]:
    """Everything in a spool, marked as shipped."""
    events: list[bytes] = []
    while (batch := spool.read(max_bytes)) is not None:
        events += batch.events
        spool.commit(batch)
    return events


def numbered(*numbers: int) -> list[bytes]:
    return [b"event %d" % number for number in numbers]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that fails to write beyond so many bytes of a file, after it has written a part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_events_are_read_in_their_order_until_they_are_shipped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    assert spool.append(numbered(1, 2, 3)) == 3
    batch = spool.read(1000)
    assert batch is not None
    assert batch.events == numbered(1, 2, 3)
    assert spool.read(1000) == batch  # it is not shipped yet
    held = spool.empty
    spool.commit(batch)
    assert (held, spool.empty) == (False, True)
    assert spool.read(1000) is None
    spool.append(numbered(4))
    following = spool.read(1000)
    assert following == Batch(batch.life, batch.next, numbered(4))


def test_a_process_that_was_killed_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, pathlib\n"
        "from silkline.observe.shipping.spool import Spool\n"
        f"spool = Spool(pathlib.Path(sys.argv[1]), {ROOM})\n"
        "print(spool.append([b'event %d' % number for number in range(100)]))\n"
        "sys.stdout.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout == b"100\n"
    spool = Spool(tmp_path, ROOM)
    assert spool.append(numbered(100)) == 1
    assert drained(spool) == numbered(*range(101))
    assert spool.damaged == 0


def test_sequence_numbers_only_grow_over_the_lives_of_a_spool(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    for number in range(4):
        spool = Spool(tmp_path, ROOM)
        spool.append(numbered(number))
        batch = spool.read(1000)
        assert batch is not None
        seen.append((batch.life, batch.first))
        if number != 1:
            spool.commit(batch)
        spool.close()
    assert seen[1] == seen[2]  # it was not shipped, and keeps its id
    assert len(set(seen)) == 3
    sequences = [sequence for _, sequence in seen]
    assert sequences == sorted(sequences)
    assert sequences[-1] < 2**53


def test_nothing_is_left_on_disk_when_all_is_shipped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    spool.append(numbered(*range(50)))
    drained(spool)
    spool.close()
    assert files(tmp_path) == []
    assert Spool(tmp_path, ROOM).empty


def test_a_full_spool_accepts_what_fits_and_more_when_some_was_shipped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    events = numbered(*range(10_000))
    accepted = spool.append(events)
    assert 0 < accepted < len(events)
    assert spool.failure == "it is full"
    assert spool.append(events[accepted:]) == 0
    sizes = [path.stat().st_size for path in files(tmp_path)]
    assert sum(sizes) == spool.size
    assert ROOM * 0.9 < spool.size <= ROOM
    batch = spool.read(ROOM // 4)
    while batch is not None and spool.size > ROOM // 2:
        spool.commit(batch)
        batch = spool.read(ROOM // 4)
    shipped = batch.events[0] if batch is not None else b""
    more = spool.append(events[accepted:])
    assert more > 0
    rest = drained(spool)
    assert rest == events[events.index(shipped) : accepted + more]
    assert spool.size <= ROOM


def test_a_disk_that_fails_amid_a_write_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    assert spool.append(numbered(1)) == 1
    with largest_file(HEADER_BYTES + 100):
        assert spool.append(numbered(*range(2, 60))) == 0
        assert spool.failure == os.strerror(errno.EFBIG)
        with largest_file(HEADER_BYTES - 1):
            assert spool.append(numbered(2)) == 0
            assert spool.append(numbered(2)) == 0
    assert spool.append(numbered(2, 3)) == 2
    assert spool.failure == ""
    assert drained(spool) == numbered(1, 2, 3)
    assert spool.damaged == 0


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_end_is_cut(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, ROOM)
    spool.append(numbered(1, 2, 3))
    (path,) = files(tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    spool = Spool(tmp_path, ROOM)
    spool.append(numbered(4))
    kept = 2 if cut < len(b"event 3") + 8 else 1
    assert drained(spool) == numbered(*range(1, kept + 1), 4)


@pytest.mark.parametrize("where", [0, HEADER_BYTES + 30])
def test_damage_ends_its_segment_only_and_is_counted(tmp_path: Path, where: int) -> None:
    spool = Spool(tmp_path, ROOM)
    events = numbered(*range(400))
    spool.append(events)
    first, second, *_ = files(tmp_path)
    with first.open("r+b") as file:
        file.seek(where)
        (byte,) = file.read(1)
        file.seek(where)
        file.write(bytes([byte ^ 1]))
    found = drained(spool)
    assert spool.damaged == 1
    kept = next(index for index, event in enumerate(events) if event not in found)
    lost = len(events) - len(found)
    assert 0 < lost < len(events) / 4
    assert found == events[:kept] + events[kept + lost :]
    assert not second.exists()


def test_damage_in_the_segment_that_is_written_does_not_stop_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    spool.append(numbered(1, 2))
    (path,) = files(tmp_path)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 9)
        file.write(b"?")
    assert drained(spool) == []
    spool.append(numbered(3))
    assert drained(spool) == numbered(3)
    assert spool.damaged == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 120)),
        st.tuples(st.just("ship"), st.integers(1, 2000)),
        st.tuples(st.just("read"), st.integers(1, 2000)),
        st.tuples(st.sampled_from(["crash", "close"]), st.just(0)),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_accepted_events_are_shipped_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, ROOM)
    accepted: list[bytes] = []
    shipped: dict[tuple[str, int], bytes] = {}

    def ship(max_bytes: int) -> bool:
        batch = spool.read(max_bytes)
        if batch is not None:
            spool.commit(batch)
            for index, event in enumerate(batch.events):
                assert (batch.life, batch.first + index) not in shipped
                shipped[batch.life, batch.first + index] = event
        return batch is not None

    number = 0
    for step, amount in steps:
        if step == "append":
            events = numbered(*range(number, number + amount))
            number += amount
            accepted += events[: spool.append(events)]
        elif step == "ship":
            ship(amount)
        elif step == "read":
            spool.read(amount)
        else:
            if step == "close":
                spool.close()
            spool = Spool(folder, ROOM)
        assert sum(path.stat().st_size for path in files(folder)) == spool.size <= ROOM
    while ship(1000):
        pass
    assert list(shipped.values()) == accepted
    sequences = [sequence for _, sequence in shipped]
    assert sequences == sorted(sequences)
    assert spool.damaged == 0
    spool.close()
