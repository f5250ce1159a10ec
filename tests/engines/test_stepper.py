"""The stepping thread over a model that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing

import pytest

from silkline.core import Delta, FinishReason, TokenLogprob, Usage, join
from silkline.engines.stepper import Failed, Job, Stepper
from silkline.engines.text_stream import TextStream
from silkline.errors import DeadlineExceeded, InternalFault, InvalidRequest, WorkerLost
from tests.engines.asking import eventually


def job(name: str, *, incremental: bool = True, stop: tuple[str, ...] = ()) -> Job:
    text = TextStream(lambda tokens: "".join(chr(token) for token in tokens), stop)
    return Job(id=name, text=text, usage=Usage(3, 0, 1), incremental=incremental)


class Letters:
    """Says a letter a step to each, up to `most`; has room for `room`."""

    def __init__(self) -> None:
        self.room, self.most = 2, 4
        self.inside: list[Job] = []
        self.order: list[str] = []
        self.error: Exception | None = None

    def admit(self, job: Job) -> bool:
        if job.id == "refused":
            raise InvalidRequest("It cannot be done.")
        if len(self.inside) == self.room:
            return False
        self.inside.append(job)
        self.order.append(job.id)
        return True

    def drop(self, job: Job) -> None:
        self.inside.remove(job)

    def busy(self) -> bool:
        return False

    def cache_use(self) -> float:
        return len(self.inside) / self.room

    def step(self, running: Sequence[Job]) -> Iterator[tuple[Job, Delta | Failed]]:
        if self.error is not None:
            raise self.error
        assert list(running) == self.inside
        for each in running:
            ended = FinishReason.LENGTH if each.tokens + 1 == self.most else None
            delta = each.take([65 + each.tokens], ended, each.joined + 1)
            if delta is not None:
                if isinstance(delta, Failed) or delta.finish_reason is not None:
                    self.inside.remove(each)
                yield each, delta


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
async def stepper(letters: Letters) -> AsyncIterator[Stepper[Job]]:
    stepper = Stepper(letters, asyncio.get_running_loop(), max_batch=3)
    stepper.start()
    yield stepper
    await asyncio.to_thread(stepper.close)


async def deltas(stepper: Stepper[Job], made: Job, seconds: float = 5.0) -> list[Delta]:
    deadline = asyncio.get_running_loop().time() + seconds
    async with aclosing(stepper.answer(made, deadline)) as stream:
        return [delta async for delta in stream]


async def read(stepper: Stepper[Job], made: Job, seconds: float = 5.0) -> tuple[str, Delta]:
    pieces = await deltas(stepper, made, seconds)
    assert all(delta.finish_reason is None for delta in pieces[:-1])
    return "".join(delta.text for delta in pieces), pieces[-1]


async def test_those_without_room_wait_their_turn(stepper: Stepper[Job], letters: Letters) -> None:
    jobs = [job(str(number)) for number in range(6)]
    read_all = await asyncio.gather(*(read(stepper, each) for each in jobs))
    assert [text for text, _ in read_all] == ["ABCD"] * 6
    assert letters.order == [each.id for each in jobs]
    _, last = read_all[0]
    assert last.usage == Usage(3, 4, 1)


async def test_a_request_that_is_refused_goes_alone(stepper: Stepper[Job]) -> None:
    bad = asyncio.create_task(read(stepper, job("refused")))
    good = asyncio.create_task(read(stepper, job("good")))
    with pytest.raises(InvalidRequest):
        await bad
    assert (await good)[0] == "ABCD"


async def test_an_answer_is_cut_at_its_stop_string(stepper: Stepper[Job]) -> None:
    for incremental in (True, False):
        cut = job("cut", stop=("CD",), incremental=incremental)
        text, last = await read(stepper, cut)
        assert text == "AB"
        assert last.finish_reason is FinishReason.STOP
        assert last.usage is not None
        assert last.usage.completion_tokens == 4


async def test_who_does_not_read_along_gets_one_delta(stepper: Stepper[Job]) -> None:
    whole = job("whole", incremental=False)
    (delta,) = await deltas(stepper, whole)
    assert (delta.text, delta.finish_reason) == ("ABCD", FinishReason.LENGTH)


async def test_time_runs_out_and_what_was_held_is_freed(
    stepper: Stepper[Job], letters: Letters
) -> None:
    letters.most = 10**9
    slow = asyncio.create_task(read(stepper, job("slow", incremental=False), seconds=0.2))
    await eventually(lambda: stepper.health().running == 1)
    assert stepper.health().cache_use == 0.5
    with pytest.raises(DeadlineExceeded):
        await slow
    await eventually(lambda: stepper.health().running == 0)
    assert not letters.inside


async def test_an_error_of_the_model_ends_all_and_closing_ends_the_rest(
    letters: Letters,
) -> None:
    for error, expected in ((RuntimeError("gone"), WorkerLost), (None, InternalFault)):
        stepper = Stepper(letters, asyncio.get_running_loop(), max_batch=3)
        letters.most, letters.error, letters.inside = 10**9, None, []
        stepper.start()
        readers = [
            asyncio.create_task(read(stepper, job(str(number), incremental=False)))
            for number in range(4)
        ]
        await eventually(lambda: stepper.health().running == 2)  # noqa: B023 - awaited here
        letters.error = error
        if error is None:
            await asyncio.to_thread(stepper.close)
        for each in readers:
            with pytest.raises(expected):
                await each
        assert stepper.failed.is_set() is (error is not None)
        with pytest.raises(expected):
            await read(stepper, job("late"))
        await asyncio.to_thread(stepper.close)


async def test_an_answer_that_cannot_be_read_fails_alone(stepper: Stepper[Job]) -> None:
    def broken(_: Sequence[int]) -> str:
        raise RecursionError

    bad = job("bad")
    bad.text = TextStream(broken, ())
    reading = asyncio.create_task(read(stepper, job("good")))
    with pytest.raises(InternalFault, match="could not be read"):
        await read(stepper, bad)
    assert (await reading)[0] == "ABCD"
    assert not stepper.failed.is_set()


def pushed(
    text: str, ended: FinishReason, *, kept_ids: frozenset[int] = frozenset(), stop: str = ""
) -> Delta:
    """A job's whole answer, of one token a character, each with a log-probability."""
    made = job("one", stop=(stop,) if stop else ())
    made.kept_ids = kept_ids
    found = []
    for index, letter in enumerate(text):
        last = index == len(text) - 1
        logprob = TokenLogprob(letter, letter.encode(), -float(index))
        delta = made.take((ord(letter),), ended if last else None, 1.0, (logprob,))
        assert not isinstance(delta, Failed)
        if delta is not None:
            found.append(delta)
            if delta.finish_reason is not None:
                break
    return join(found)


def test_the_end_token_is_no_part_of_the_answer() -> None:
    cut = pushed("abc$", FinishReason.STOP)
    assert (cut.text, "".join(each.token for each in cut.logprobs)) == ("abc", "abc")
    assert cut.usage == Usage(3, 4, 1)
    kept = pushed("abc$", FinishReason.STOP, kept_ids=frozenset({ord("$")}))
    assert (kept.text, "".join(each.token for each in kept.logprobs)) == ("abc$", "abc$")
    full = pushed("abc$", FinishReason.LENGTH)
    assert (full.text, "".join(each.token for each in full.logprobs)) == ("abc$", "abc$")


def test_tokens_behind_the_stop_string_have_no_logprobs() -> None:
    cut = pushed("abcde$", FinishReason.STOP, stop="cd")
    assert (cut.text, "".join(each.token for each in cut.logprobs)) == ("ab", "ab")
    assert cut.finish_reason is FinishReason.STOP
    assert cut.usage == Usage(3, 4, 1)


def test_a_whole_answer_is_read_at_once() -> None:
    made = job("one", incremental=False)
    assert made.take((65, 66), None, 1.0) is None
    whole = made.take((67, 36), FinishReason.STOP, 1.0)
    assert isinstance(whole, Delta)
    assert (whole.text, whole.usage) == ("ABC", Usage(3, 4, 1))
