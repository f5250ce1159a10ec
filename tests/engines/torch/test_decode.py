"""The step of next tokens, as a graph on a card wants it: nothing in it waits for the device."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from silkline.core import Request
from silkline.engines.torch import attention
from silkline.engines.torch.adapters import Adapters
from silkline.engines.torch.attention import PackedAttention, Score, eager, sdpa
from silkline.engines.torch.decode import Decoder
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.job import Job
from silkline.engines.torch.loading import load_family
from silkline.engines.torch.slots import KvSlots
from silkline.engines.torch.text_forward import probe
from tests.engines.torch.driving import job
from tests.engines.torch.reference import CASES
from tests.engines.torch.tiny import INSTALLED, Tiny, save

CPU = torch.device("cpu")
LENGTH = 900


def without_numbers(model: nn.Module, mode: FakeTensorMode) -> None:
    """Its tensors become ones of which only shape and type are known: none can be asked for."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = mode.from_tensor(tensor)  # type: ignore[assignment]


def generating(family: Adapter) -> list[Job]:
    """Requests of different lengths, whose prompts are filled in."""
    jobs = []
    for name in ("one picture", "no picture"):
        case = CASES[name]
        made = job(family, Request(id=name, messages=case.messages, images=case.images), LENGTH)
        made.progress.done = made.progress.length
        made.generated.append(5)
        jobs.append(made)
    return jobs


def decoder_of(family: Adapter, score: Score, position_rows: int) -> Decoder:
    """As on a card: padded, with slots that seldom move."""
    token = family.embed_next(torch.zeros(1, dtype=torch.int64))
    found = probe(family, token, torch.zeros(position_rows, 1, dtype=torch.int64))
    slots = KvSlots(
        found.shapes,
        max_slots=4,
        budget=1 << 24,
        dtype=token.dtype,
        device=CPU,
        steady=True,
        states=found.states,
    )
    slots.reserve(2, LENGTH)
    packed = PackedAttention(slots, score, score, found.reads)
    attention.install(family.text_model, packed)
    return Decoder(
        family,
        slots,
        packed,
        Adapters(family.model, family.text_model, token[:0], 0),
        windows=found.windows,
        position_rows=position_rows,
        dtype=token.dtype,
        padded=True,
    )


@pytest.mark.parametrize("score", [sdpa, eager])
@pytest.mark.parametrize(
    "tiny",
    # Experts get as many tokens as the router chooses for them: such steps run without a graph.
    [tiny for tiny in INSTALLED if "num_experts" not in tiny.config["text_config"]],
    ids=lambda tiny: tiny.id,
)
def test_no_family_asks_for_a_number_in_a_step(tmp_path: Path, tiny: Tiny, score: Score) -> None:
    family = load_family(save(tiny, tmp_path / "model"), dtype=torch.bfloat16, device=CPU)
    jobs = generating(family)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, torch.inference_mode():
        without_numbers(family.model, mode)
        decoder = decoder_of(family, score, jobs[0].prompt.positions.shape[0])
        logits = decoder.logits(jobs)
        with pytest.raises(DataDependentOutputException):
            logits.argmax().item()
    assert logits.shape == (2, family.config.get_text_config().vocab_size)
