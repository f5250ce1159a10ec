"""Requests that give their slot up and come back, in families whose prompts are not plain rows."""

from pathlib import Path
from typing import Any

import pytest

from silkline.core import Sampling
from silkline.engines.torch.job import Job
from tests.engines.asking import picture, request, user
from tests.engines.torch import driving
from tests.engines.torch.tiny import TINY, save


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "paligemma2"])
def test_whoever_comes_back_goes_on_where_it_was(
    family: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Three axes of positions, pictures that attend both ways, a whole prompt that does."""
    folder = save(next(each for each in TINY if each.id == family), tmp_path / "model")
    free = Sampling(
        max_tokens=150,
        temperature=1.2,
        seed=8,
        top_k=40,
        min_p=0.001,
        min_tokens=120,
        frequency_penalty=0.7,
        presence_penalty=0.3,
        repetition_penalty=1.2,
    )
    requests = [
        request(user("Tell: ", 0, "why" * number), images=(picture(number, 64, 40 + 9 * number),),
                sampling=free)
        for number in range(3)
    ]  # fmt: skip
    roomy = driving.loaded(folder)
    expected = [driving.alone(roomy, each) for each in requests]
    budget = 300 * roomy.batch._slots.token_bytes
    driver = driving.Driver(driving.loaded(folder, kv_cache_bytes=budget, prefill_chunk=11))
    again: list[int] = []
    rewind = Job.rewind

    def noted(job: Job) -> None:
        again.append(len(job.generated))
        rewind(job)

    monkeypatch.setattr(Job, "rewind", noted)
    jobs = [driver.add(each) for each in requests]
    driver.run()
    assert any(again), "nobody was sent back"
    assert [each.generated for each in jobs] == expected
