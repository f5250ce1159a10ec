"""The scheduler: what a step takes of the prompts that wait."""

from hypothesis import given
from hypothesis import strategies as st

from silkline.engines.torch.schedule import Chunk, Progress, plan_chunks


@st.composite
def prompts(draw: st.DrawFn) -> Progress:
    length = draw(st.integers(1, 60))
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=6)))
    blocks = tuple(zip(cuts[::2], cuts[1::2], strict=False))
    return Progress(length, 0, blocks)


waiting = st.lists(prompts(), min_size=1, max_size=6)
budgets = st.integers(1, 40)


@given(waiting, budgets, st.lists(st.integers(0, 3), max_size=10))
def test_every_token_is_taken_once_in_order_and_no_block_is_cut(
    queue: list[Progress], budget: int, arrivals: list[int]
) -> None:
    later = [Progress(5 + number, 0, ((1, 4),)) for number in arrivals]
    taken: dict[int, list[tuple[int, int]]] = {id(prompt): [] for prompt in [*queue, *later]}
    everyone = [*queue, *later]
    steps = 0
    while queue:
        steps += 1
        assert steps <= sum(prompt.length for prompt in everyone), "it starves"
        chunks = plan_chunks(queue, budget)
        assert chunks[0].index == 0, "the oldest prompt gets a chunk in each step"
        assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
        for chunk in chunks:
            prompt = queue[chunk.index]
            assert chunk.start == prompt.done < chunk.end <= prompt.length
            taken[id(prompt)].append((chunk.start, chunk.end))
            prompt.done = chunk.end
        unfinished = [
            chunk for chunk in chunks if queue[chunk.index].done < queue[chunk.index].length
        ]
        assert unfinished in ([], [chunks[-1]]), "only the last one is left unfinished"
        queue = [prompt for prompt in queue if prompt.done < prompt.length]
        if later:
            queue.append(later.pop(0))
    for prompt in everyone:
        ranges = taken[id(prompt)]
        assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
        assert ranges[-1][1] == prompt.length
        for start, end in prompt.blocks:
            assert any(first <= start and end <= last for first, last in ranges)


@given(waiting, budgets)
def test_the_budget_holds_but_for_one_block_that_is_longer(
    queue: list[Progress], budget: int
) -> None:
    chunks = plan_chunks(queue, budget)
    total = sum(chunk.end - chunk.start for chunk in chunks)
    if total > budget:
        assert len(chunks) == 1
        first = queue[0]
        assert (first.done, chunks[0].end) in first.blocks


def test_short_prompts_share_a_step_and_a_long_one_fills_it() -> None:
    queue = [Progress(10), Progress(7), Progress(100)]
    assert plan_chunks(queue, 32) == [Chunk(0, 0, 10), Chunk(1, 0, 7), Chunk(2, 0, 15)]


def test_a_block_that_does_not_fit_waits_for_the_next_step() -> None:
    queue = [Progress(10), Progress(20, 0, ((4, 18),))]
    assert plan_chunks(queue, 16) == [Chunk(0, 0, 10), Chunk(1, 0, 4)]
    assert plan_chunks([Progress(20, 4, ((4, 18),))], 8) == [Chunk(0, 4, 18)]
