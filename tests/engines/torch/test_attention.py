"""The packed attention, against every request alone, spelled out."""

import pytest
import torch

from silkline.engines.torch import attention
from silkline.engines.torch import layout as layouts
from silkline.engines.torch.slots import KvSlots, LayerShape

HEADS, KV_HEADS, DIM, VALUE_DIM = 4, 2, 8, 6
LENGTHS = (23, 14, 5, 30)
STEPS: tuple[tuple[tuple[int, ...], tuple[tuple[int, int, int], ...]], ...] = (
    ((), ((0, 0, 10),)),
    ((), ((0, 10, 18), (1, 0, 9))),
    ((0, 1), ((2, 0, 1), (3, 0, 4))),
    ((0, 1, 2), ((3, 4, 15),)),
    ((0, 1, 2), ((3, 15, 28),)),
    ((0, 1, 2, 3), ()),
    ((0, 1, 2, 3), ()),
)
"""Of each step, the requests that generate, and pieces of prompts `(request, start, end)`."""


class Case:
    """Some requests' queries, keys and values, and how their layer attends."""

    def __init__(self, form: attention.Form, blocks: bool) -> None:
        dice = torch.Generator().manual_seed(2)
        shape = {"q": (HEADS, DIM), "k": (KV_HEADS, DIM), "v": (KV_HEADS, VALUE_DIM)}
        self.rows = [
            {name: torch.randn(length, *sizes, generator=dice) for name, sizes in shape.items()}
            for length in LENGTHS
        ]
        self.form = form
        self.blocks = (((2, 9), (12, 17)), (), (), ((5, 15),)) if blocks else ((), (), (), ())

    def alone(self, request: int) -> torch.Tensor:
        """`[length, heads, value_dim]`, one query at a time."""
        query, key, value = (self.rows[request][name].double() for name in "qkv")
        out = torch.zeros(len(query), HEADS, VALUE_DIM, dtype=torch.float64)
        for place in range(len(query)):
            seen = [other for other in range(len(query)) if self.sees(request, place, other)]
            for head in range(HEADS):
                keys, values = key[seen, head // 2], value[seen, head // 2]
                scores = keys @ query[place, head] * self.form.scaling
                if self.form.softcap is not None:
                    scores = self.form.softcap * torch.tanh(scores / self.form.softcap)
                out[place, head] = torch.softmax(scores, 0) @ values
        return out

    def sees(self, request: int, place: int, other: int) -> bool:
        block = any(
            start <= place < end and start <= other < end for start, end in self.blocks[request]
        )
        near = self.form.window is None or other > place - self.form.window
        return block or (other <= place and near)


@pytest.mark.parametrize("score", ["sdpa", "eager"])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("blocks", [False, True])
def test_each_request_sees_its_own_past_and_nothing_else(
    score: str, window: int | None, softcap: float | None, blocks: bool
) -> None:
    form = attention.Form(0.3, window, softcap)
    case = Case(form, blocks)
    slots = KvSlots(
        {0: LayerShape(KV_HEADS, DIM, VALUE_DIM)},
        max_slots=4,
        budget=1 << 20,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    slots.reserve(4, max(LENGTHS))
    way = getattr(attention, score)
    packed = attention.PackedAttention(slots, way, way)
    came = [torch.zeros(length, HEADS, VALUE_DIM) for length in LENGTHS]
    done = [0] * 4
    for generating, pieces in STEPS:
        where = [(each, done[each], done[each] + 1) for each in generating]
        where += pieces
        write = [(each, place) for each, *ends in where for place in range(*ends)]
        last = torch.tensor([done[each] for each in generating], dtype=torch.int64)
        length = max([done[each] + 1 for each in generating], default=0)
        slot_of, place = torch.tensor(write).unbind(1)
        layout = layouts.Layout(slot_of, place, len(generating), length)
        layout.masks = {window: layouts.decode_mask(last, length, window, torch.float32)}
        chunks, row = [], len(generating)
        for each, start, end in pieces:
            chunks.append(layouts.PromptChunk(row, each, start, end, case.blocks[each]))
            row += end - start
        layout.chunks = chunks
        packed.layout = layout
        query, key, value = (
            torch.cat([case.rows[each][name][start:end] for each, start, end in where])
            .transpose(0, 1)
            .unsqueeze(0)
            for name in "qkv"
        )
        out = packed(0, query, key, value, form)[0]
        row = 0
        for each, start, end in where:
            came[each][start:end] = out[row : row + end - start]
            row += end - start
            done[each] = end
    assert done == list(LENGTHS)
    for each in range(4):
        assert torch.allclose(came[each].double(), case.alone(each), atol=2e-5)


def test_a_prompt_taken_at_once_needs_no_mask() -> None:
    like = torch.zeros(1)
    assert layouts.PromptChunk(0, 0, 0, 9).mask(None, like) is None
    assert layouts.PromptChunk(0, 0, 0, 9).mask(9, like) is None
    assert layouts.PromptChunk(0, 0, 0, 9).mask(8, like) is not None
    assert layouts.PromptChunk(0, 0, 3, 9).mask(None, like) is not None
    assert layouts.PromptChunk(0, 0, 0, 9, ((1, 4),)).mask(None, like) is not None
