"""Cases 51 and 52: no more files, and a clock that jumps."""

import asyncio
import resource
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History, Outcome
from tests.campaign.load import together
from tests.campaign.questions import Asker
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, settled
from tests.serving import served

ENGINE = ("--engine", "fake", "--cache-ttl", "0")


@pytest.fixture
def faketime() -> Path:
    """The library that makes a process see another time."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.fail("No libfaketime. Run: apt-get update && apt-get install -y faketime")
    return found[0]


@pytest.mark.parametrize("clients", sizes(60, 400))
async def test_without_files_it_refuses_and_recovers(seed: int, clients: float) -> None:
    asker, history = Asker(seed), History()
    questions = await asker.questions(int(clients))
    options = ("--engine-options", "token_seconds=0.05")
    with served(*ENGINE, *options) as running:
        client = Client(running.host_and_port, history)
        before = await idle(running)
        limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        with history.fault("no more files", cuts_all=True):
            few = psutil.Process(running.process.pid).num_fds() + 10
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (few, limits[1]))
            manner = Manner(deadline_seconds=10)
            await together(client, questions, prefix="few", manner=lambda _: manner)
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
        at_first = len(history.operations)
        await asyncio.sleep(1.5)
        await together(client, questions[:20], prefix="again")
        await settled(running, before)
    again = history.operations[at_first:]
    assert_no_defects(running)
    record(
        "51-no-files", seed=seed, whole=clients > 60, clients=int(clients),
        outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert all(each.outcome is Outcome.ANSWERED for each in again)


@pytest.mark.parametrize("hours", sizes(1, 24))
async def test_a_clock_that_jumps_ends_nothing(
    seed: int, hours: float, faketime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    asker, history = Asker(seed), History()
    options = ("--engine-options", "token_seconds=0.05", "--request-timeout", "10")
    with ExitStack() as stack:
        with monkeypatch.context() as environment:
            environment.setenv("LD_PRELOAD", str(faketime))
            environment.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
            environment.setenv("FAKETIME_NO_CACHE", "1")
            environment.setenv("DONT_FAKE_MONOTONIC", "1")
            running = stack.enter_context(served(*ENGINE, *options))
        client = Client(running.host_and_port, history)
        await together(client, await asker.questions(20), prefix="warm")
        before = await idle(running)
        manner = Manner(deadline_seconds=10)
        for name, offset in (("ahead", hours), ("back", -hours), ("right", 0)):
            questions = await asker.questions(30)
            load = asyncio.create_task(
                together(client, questions, prefix=name, manner=lambda _: manner)
            )
            await asyncio.sleep(0.4)
            with history.fault(f"the clock is {offset:+} h off"):
                clock.write_text(f"{offset * 3600:+}\n")
                await load
        await settled(running, before)
    assert_no_defects(running)
    record("52-clock", seed=seed, whole=hours > 1, hours=hours, outcomes=history.outcomes())
    assert not violations(history)
    # Some may be refused before the gateway has learnt how fast the engine is; none is late.
    assert history.outcomes().keys() <= {"answered", "refused overloaded"}
    assert len(history.answered()) > 60
    hours_seen = {line[16:29] for line in running.log if "@timestamp" in line}
    assert len(hours_seen) > 1
