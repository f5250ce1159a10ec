"""What the ledger calls certain is in the pool, whatever requests come, end and are cancelled."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("openvino_genai")

from silkline.engines.openvino.ledger import BlockLedger
from silkline.engines.openvino.served import BLOCK_TOKENS

STEP = 8 * BLOCK_TOKENS


@dataclass(eq=False)
class Block:
    name: object = None
    time: int = 0
    users: int = 0


@dataclass
class Pool:
    """The rules of GenAI's block manager: what is free, unused but known, and in use."""

    size: int
    clock: int = 0
    free: list[Block] = field(default_factory=list)
    unused: dict[object, Block] = field(default_factory=dict)
    known: dict[object, Block] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = [Block() for _ in range(self.size)]

    def find(self, name: object) -> Block | None:
        found = self.unused.pop(name, None) or self.known.get(name)
        if found is not None:
            self.clock += 1
            found.time, found.users = self.clock, found.users + 1
        return found

    def take(self, name: object) -> Block:
        self.clock += 1
        if self.free:
            taken = self.free.pop(0)
        else:
            taken = min(self.unused.values(), key=lambda each: each.time)
            del self.unused[taken.name]
            self.known.pop(taken.name, None)
            taken.time = self.clock
        taken.name, taken.users = name, 1
        self.known[name] = taken
        return taken

    def release(self, block: Block) -> None:
        block.users -= 1
        if block.users:
            return
        other = self.unused.pop(block.name, None)
        if other is not None:
            self.free.append(other)
            if self.known.get(other.name) is other:
                del self.known[other.name]
        self.unused[block.name] = block


@dataclass(eq=False)
class Asked:
    keys: list[bytes]
    tokens: int
    answer: int
    blocks: list[Block] = field(default_factory=list)
    generated: int = 0
    cancelled: bool = False


class Machine:
    """A pool and its ledger, stepped as the engine does."""

    def __init__(self, size: int) -> None:
        self.pool, self.ledger = Pool(size), BlockLedger(size, STEP)
        self.running: list[Asked] = []
        self.certain = self.found = 0

    def in_use(self) -> int:
        return sum((each.tokens + each.answer) // BLOCK_TOKENS + 2 for each in self.running)

    def admit(self, asked: Asked) -> None:
        need = (asked.tokens + asked.answer) // BLOCK_TOKENS + 2
        while not self.ledger.admits(asked.tokens) or self.in_use() + need >= self.pool.size:
            self.step()
        for key in asked.keys:
            block = self.pool.find(key)
            if block is None:
                break
            asked.blocks.append(block)
        cached = self.ledger.begin(asked, asked.tokens, asked.keys)
        assert cached <= len(asked.blocks) * BLOCK_TOKENS, "it was called certain and is not there"
        self.certain += cached
        self.found += len(asked.blocks) * BLOCK_TOKENS
        self.running.append(asked)

    def step(self) -> None:
        ended = self.ledger.ended()
        gone = [each for each in self.running if each.cancelled]
        for asked in [each for each in self.running if not each.cancelled]:
            for index in range(
                len(asked.blocks), -(-(asked.tokens + asked.generated) // BLOCK_TOKENS)
            ):
                name = asked.keys[index] if index < len(asked.keys) else object()
                asked.blocks.append(self.pool.take(name))
            asked.generated += 1
            self.ledger.advance(asked, asked.generated)
            if asked.generated >= asked.answer:
                self.ledger.end(asked)
                gone.append(asked)
        for asked in gone:
            self.running.remove(asked)
            for block in asked.blocks:
                self.pool.release(block)
        self.ledger.stepped(ended)

    def cancel(self, asked: Asked) -> None:
        asked.cancelled = True
        self.ledger.end(asked)


asks = st.tuples(
    st.lists(st.integers(0, 2), max_size=5),  # its blocks
    st.integers(1, BLOCK_TOKENS),
    st.integers(1, 3 * BLOCK_TOKENS),
    st.integers(0, 40),  # steps before the next one
    st.integers(0, 9),  # 0 cancels one
)


@given(st.integers(14, 40), st.lists(asks, max_size=40))
def test_what_is_certain_is_there(
    size: int, asked: list[tuple[list[int], int, int, int, int]]
) -> None:
    machine = Machine(size)
    for numbers, rest, answer, steps, chance in asked:
        keys = [bytes(numbers[: count + 1]) for count in range(len(numbers))]
        machine.admit(Asked(keys, len(keys) * BLOCK_TOKENS + rest, answer))
        if chance == 0:
            machine.cancel(machine.running[len(numbers) % len(machine.running)])
        for _ in range(steps):
            machine.step()


def test_it_is_certain_of_nearly_all_that_a_roomy_pool_has() -> None:
    machine = Machine(100)
    for number in range(200):
        keys = [bytes([number % 4, count]) for count in range(6)]
        machine.admit(Asked(keys, 6 * BLOCK_TOKENS + 5, 20))
        for _ in range(25):
            machine.step()
    assert machine.found >= machine.certain > 0.9 * machine.found > 0


def test_prompts_that_wait_fit_into_one_step_together() -> None:
    ledger = BlockLedger(100, STEP)
    assert ledger.admits(10 * STEP), "alone, any prompt may join"
    ledger.begin("one", STEP - 10, ())
    assert ledger.admits(10)
    assert not ledger.admits(11)
    ledger.advance("one", 1)
    assert ledger.admits(11)
    ledger.begin("two", STEP, ())
    assert not ledger.admits(1)
    ledger.end("two")
    assert ledger.admits(STEP), "a cancelled prompt is not prefilled"


def test_when_requests_need_more_than_the_pool_nothing_is_certain() -> None:
    ledger = BlockLedger(10, STEP)
    keys = [b"a", b"b"]
    ledger.begin("one", 70, keys)
    ledger.advance("one", 1)
    ledger.end("one")
    ledger.stepped(ledger.ended())
    assert ledger.begin("two", 70, keys) == 2 * BLOCK_TOKENS
    ledger.begin("three", 8 * BLOCK_TOKENS, ())
    ledger.stepped(())
    assert ledger.begin("four", 70, keys) == 0


def test_touches_too_old_to_be_certain_are_forgotten() -> None:
    machine = Machine(50)
    for number in range(300):
        keys = [number.to_bytes(2, "big") + bytes([count]) for count in range(6)]
        machine.admit(Asked(keys, 6 * BLOCK_TOKENS + 5, 2))
        machine.step()
        machine.step()
        assert machine.ledger.known <= 2 * machine.pool.size
