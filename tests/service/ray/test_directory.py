"""What the directory of workers knows, and for how long."""

import msgspec

from silkline.service.ray.directory import LEASE_SECONDS, NO_LOAD, Directory, Load

NONE = msgspec.json.encode(NO_LOAD)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def load_of(answer: bytes) -> Load:
    return msgspec.json.decode(answer, type=Load)


def test_each_application_has_its_own_workers() -> None:
    directory = Directory()
    directory.renew("a", "1", b"first")
    directory.renew("a", "1", b"second")
    directory.renew("b", "2", b"other")
    assert directory.look("a", "g", NONE) == [b"second"]
    assert directory.look("c", "g", NONE) == []


def test_a_worker_that_is_silent_for_a_lease_is_forgotten() -> None:
    clock = Clock()
    directory = Directory(clock)
    directory.renew("a", "1", b"silent")
    clock.now += LEASE_SECONDS - 1
    directory.renew("a", "2", b"talks")
    assert directory.look("a", "g", NONE) == [b"silent", b"talks"]
    clock.now += 2
    assert directory.look("a", "g", NONE) == [b"talks"]


def test_workers_learn_what_waits_in_all_gateways() -> None:
    clock = Clock()
    directory = Directory(clock)
    directory.look("a", "g1", msgspec.json.encode(Load(waiting=3, backlog_seconds=1.5)))
    directory.look("a", "g2", msgspec.json.encode(Load(waiting=4, backlog_seconds=0.5)))
    directory.look("b", "g3", msgspec.json.encode(Load(waiting=90, backlog_seconds=9.0)))
    assert load_of(directory.renew("a", "1", b"")) == Load(waiting=7, backlog_seconds=1.5)
    clock.now += LEASE_SECONDS + 1
    assert load_of(directory.renew("a", "1", b"")) == NO_LOAD


def test_the_last_gateway_that_leaves_is_told_so() -> None:
    directory = Directory()
    directory.renew("a", "1", b"worker")
    directory.look("a", "g1", NONE)
    directory.look("a", "g2", NONE)
    assert directory.leave("a", "g1") == 1
    assert directory.leave("a", "g1") == 1
    assert directory.leave("a", "g2") == 0
    assert directory.look("a", "g3", NONE) == []
