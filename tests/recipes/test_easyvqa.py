"""The recipe for easy-VQA: its splits, its packed questions, and what it writes."""

import json
from pathlib import Path

import pytest
import torch

from recipes.easyvqa.data import (
    Split,
    group_of,
    kind_of,
    load_pixels,
    normalised,
    scenes,
    varied,
)
from recipes.easyvqa.evaluation_set import write_sets
from recipes.easyvqa.packing import Packer
from recipes.easyvqa.train import TeacherTask
from recipes.mini.model import Layout, build_model
from recipes.mini.tokenizer import train_tokenizer
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import load_dataset

SMALL = Layout(
    width=16, heads=2, tower_layers=1, decoder_layers=1, intermediate=16, picture_size=64,
    patch_size=8,
)  # fmt: skip


def test_the_splits_share_no_picture_and_leave_out_no_question() -> None:
    train, validation, test = (scenes(split) for split in Split)
    assert (len(train), len(validation), len(test)) == (3600, 400, 1000)
    assert not {scene.number for scene in train} & {scene.number for scene in validation}
    assert sum(len(scene.pairs) for scene in train + validation) == 38_575
    assert sum(len(scene.pairs) for scene in test) == 9_673


def test_the_sets_are_read_by_silkline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {split: scenes(split)[:3] for split in Split}
    monkeypatch.setattr("recipes.easyvqa.evaluation_set.scenes", lambda split: few[split])
    write_sets(tmp_path)
    test = load_dataset(find_set(str(tmp_path / "test.jsonl"), {}))
    assert [item.references[0] for item in test.items] == [
        answer for scene in few[Split.TEST] for _, answer in scene.pairs
    ]
    assert len({item.group for item in test.items}) == 3
    assert {item.fields["kind"] for item in test.items} <= {"yes_no", "shape", "color"}
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert all("reference" not in row for row in rows)


@pytest.mark.parametrize(
    ("question", "answer", "group"),
    [
        ("what color is the shape?", "blue", "color"),
        ("what is the blue shape?", "circle", "shape"),
        ("is there a red shape?", "yes", "color there"),
        ("is there a red shape?", "no", "color missing"),
        ("is there not a red shape?", "no", "color there"),
        ("does the image not contain a gray shape?", "yes", "color missing"),
        ("does the image not contain a circle?", "no", "shape there"),
        ("is a triangle present?", "no", "shape missing"),
    ],
)
def test_the_group_of_a_question_tells_whether_what_it_names_is_there(
    question: str, answer: str, group: str
) -> None:
    assert group_of(question, answer) == group


def test_a_packed_question_is_answered_as_one_that_is_alone() -> None:
    torch.manual_seed(0)
    scene = scenes(Split.TEST)[0]
    tokenizer = train_tokenizer([text for pair in scene.pairs for text in pair], 300)
    model = build_model(len(tokenizer), SMALL).eval()
    pixels = normalised(load_pixels([scene]))
    packer = Packer(tokenizer, SMALL.image_tokens)

    def logits(pairs: tuple[tuple[str, str], ...]) -> torch.Tensor:
        packed = packer.pack([type(scene)(scene.number, scene.path, pairs)])
        inner = model.model
        features = inner.multi_modal_projector(inner.vision_tower(pixels).last_hidden_state[:, 1:])
        embeds = inner.language_model.get_input_embeddings()(packed.ids)
        embeds[:, 1 : 1 + SMALL.image_tokens] = features
        hidden = inner.language_model(
            inputs_embeds=embeds, attention_mask=packed.mask, position_ids=packed.positions
        ).last_hidden_state
        found: torch.Tensor = hidden[0, :-1][packed.labels[0, 1:] != -100]
        return found

    with torch.no_grad():
        together = logits(scene.pairs[:4])
        alone = torch.cat([logits((pair,)) for pair in scene.pairs[:4]])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_step_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.easyvqa.train.TEACHER", SMALL)
    few = {split: scenes(split)[:32] for split in Split}
    monkeypatch.setattr("recipes.easyvqa.train.scenes", lambda split: few[split])
    tokenizer = train_tokenizer(
        [text for s in few[Split.TRAIN] for p in s.pairs for text in p], 300
    )
    torch.manual_seed(0)
    task = TeacherTask(build_model(len(tokenizer), SMALL), tokenizer, seed=3)
    first, again, other = (float(task.loss(step).detach()) for step in (5, 5, 6))
    assert first == again != other
    with torch.no_grad():
        loss, right = task.held_out()
    assert loss > 0
    assert 0 <= right <= 1


def test_pictures_are_moved_within_their_frame() -> None:
    pixels = load_pixels(scenes(Split.TEST)[:8])
    moved = varied(pixels, torch.Generator().manual_seed(1))
    assert moved.shape == pixels.shape
    assert not torch.equal(moved, pixels)
    assert torch.equal(varied(pixels, torch.Generator().manual_seed(1)), moved)


def test_answers_are_of_three_kinds() -> None:
    assert [kind_of(answer) for answer in ("yes", "circle", "teal")] == ["yes_no", "shape", "color"]
