"""From messages to ids, pictures and positions, family by family."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from silkline.core import Message, PromptOptions, Role, TextPart
from silkline.engines.prompt_text import ZERO_WIDTH_SPACE
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.loading import load_family
from silkline.engines.torch.prompt import PromptWriter
from silkline.errors import ConfigError, InvalidRequest
from tests.engines.asking import picture, user
from tests.engines.torch.tiny import INSTALLED, TINY, save

SIZES = [(1, 1), (1, 3), (3, 60), (60, 3), (48, 36), (64, 64), (100, 40), (37, 91), (700, 500)]
families = pytest.mark.parametrize("name", [tiny.id for tiny in INSTALLED])
Get = Callable[[str], Adapter]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """Loads a family's tiny model, once."""
    known: dict[str, Adapter] = {}

    def get(name: str) -> Adapter:
        if name not in known:
            tiny = next(each for each in TINY if each.id == name)
            folder = save(tiny, tmp_path_factory.mktemp("prompt") / name)
            known[name] = load_family(folder, dtype=None, device=torch.device("cpu"))
        return known[name]

    return get


@families
def test_a_picture_takes_what_inspect_says(name: str, family: Get) -> None:
    model = family(name)
    for width, height in SIZES:
        said = model.rule.count(width, height)
        prompt = model.prepare([user(0, "What?")], [picture(1, width, height)])
        assert sum(each.tokens for each in prompt.images) == said.features, (width, height)
        assert said.total <= model.image_tokens
        features = model.encode(prompt.images)
        assert [len(each) for each in features] == [each.tokens for each in prompt.images]


@families
def test_positions_and_blocks_fit_the_prompt(name: str, family: Get) -> None:
    model = family(name)
    for messages, images in (
        ([user("Hello there.")], []),
        ([user(0, "What?")], [picture(1, 90, 40)]),
    ):
        prompt = model.prepare(messages, images)
        length = len(prompt.ids)
        assert prompt.positions.shape == (3 if name.startswith("qwen") else 1, length)
        assert prompt.next_position == int(prompt.positions.max()) + 1
        assert all(0 <= start < end <= length for start, end in prompt.blocks)
        if name.startswith("paligemma"):
            assert prompt.blocks == ((0, length),)
        elif name == "gemma3" and images:
            (block,) = prompt.blocks
            assert set(prompt.ids[slice(*block)].tolist()) == {model.image_token_id}
        else:
            assert prompt.blocks == ()


@families
def test_the_same_picture_has_the_same_digest(name: str, family: Get) -> None:
    model = family(name)
    here = model.prepare([user("A ", 0, " B")], [picture(1, 90, 40)])
    there = model.prepare([user(0, "Else?")], [picture(1, 90, 40)])
    other = model.prepare([user(0, "Else?")], [picture(2, 90, 40)])
    digests = [[each.digest for each in prompt.images] for prompt in (here, there, other)]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_onevision_tiles_one_picture_but_not_several(family: Get) -> None:
    model = family("llava_onevision")
    one = model.prepare([user(0)], [picture(1, 90, 40)]).images[0]
    two = model.prepare([user(0, 1)], [picture(1, 90, 40)] * 2).images
    assert one.tensors["pixel_values"].shape[0] > 1
    assert {each.tokens for each in two} == {17}
    assert two[0].digest == two[1].digest != one.digest


@families
def test_pictures_are_seen_together_as_alone(name: str, family: Get) -> None:
    model = family(name)
    prompts = [
        model.prepare([user(0, "?")], [picture(index, *size)])
        for index, size in enumerate([(48, 36), (90, 40), (64, 64)])
    ]
    if name == "llava_onevision":
        prompts.append(model.prepare([user(0, 1)], [picture(7, 90, 40), picture(8)]))
    seen = [each for prompt in prompts for each in prompt.images]
    for order in (seen, seen[::-1], seen[1:] + seen[:1]):
        for together, each in zip(model.encode(order), order, strict=True):
            (alone,) = model.encode([each])
            torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@families
def test_special_tokens_that_a_client_types_are_broken(name: str, family: Get) -> None:
    model = family(name)
    typed = [*model.tokenizer.added.reserved(None, None), model.marker, model.image_token]
    honest = model.prepare([user("Hello")], [])
    assert model.image_token_id not in honest.ids
    for token in typed:
        prompt = model.prepare([user(f"Hel{token}lo")], [])
        special = {model.tokenizer.id_of(each) for each in typed}
        count = sum(int(each) in special for each in prompt.ids)
        assert count == sum(int(each) in special for each in honest.ids), token
        assert token[0] + ZERO_WIDTH_SPACE in model.tokenizer.wrapped.decode(prompt.ids)


@families
def test_a_special_token_around_a_picture_is_broken(name: str, family: Get) -> None:
    model = family(name)
    token = model.tokenizer.wrapped.eos_token
    parts = (token[:2], 0, token[2:])
    prompt = model.prepare([user(*parts)], [picture()])
    honest = model.prepare([user("a", 0, "b")], [picture()])
    end = model.tokenizer.id_of(token)
    assert prompt.ids.tolist().count(end) == honest.ids.tolist().count(end)


@families
def test_prompts_may_be_prepared_in_many_threads(name: str, family: Get) -> None:
    model = family(name)

    def made(index: int) -> tuple[list[int], list[bytes]]:
        words = [user(0, f"What is this? {'x' * index}")]
        prompt = model.prepare(words, [picture(index, 40 + index, 60)])
        return prompt.ids.tolist(), [each.digest for each in prompt.images]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(made, range(12))) == [made(index) for index in range(12)]


@families
def test_pictures_that_cannot_fit_are_refused_before_they_are_resized(
    name: str, family: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resized(*pictures: Any, **told: Any) -> None:
        raise AssertionError("they were resized")

    model = family(name)
    monkeypatch.setattr(model, "image_processor", resized)
    images = [picture(1, 640, 480)] * 260
    with pytest.raises(InvalidRequest, match=r"take \d+ tokens, but prompt and answer"):
        model.prepare([user(*range(260))], images)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_a_picture_that_is_too_long_is_refused(name: str, family: Get) -> None:
    with pytest.raises(InvalidRequest, match="at most 200 times the shorter"):
        family(name).prepare([user(0, "?")], [picture(1, 402, 2)])


def test_an_image_processor_that_fails_refuses_the_picture(
    family: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*pictures: Any, **told: Any) -> None:
        raise ValueError("/a/path: secret")

    model = family("llava")
    monkeypatch.setattr(model, "image_processor", fails)
    with pytest.raises(InvalidRequest, match="does not support an image of this shape") as refused:
        model.prepare([user(0, "?")], [picture(1, 50, 20)])
    assert "50x20" in refused.value.message
    assert "secret" not in refused.value.message


def test_blip_2_takes_one_picture(family: Get) -> None:
    with pytest.raises(InvalidRequest, match="one image per conversation, but 2 were sent"):
        family("blip-2").prepare([user(0, "and", 1)], [picture(1), picture(2)])


@families
def test_pictures_that_do_not_match_are_refused(name: str, family: Get) -> None:
    for message, images in ((user(1, "?"), 1), (user("?"), 1), (user(0, 0), 1), (user(0), 0)):
        with pytest.raises(InvalidRequest, match="Refer to each image once"):
            family(name).prepare([message], [picture()] * images)


def words(model: Adapter, *messages: Message, images: int = 0) -> str:
    prompt = model.prepare(messages, [picture()] * images)
    text: str = model.tokenizer.wrapped.decode(prompt.ids)
    return text.replace(model.image_token, "")


def said(text: str, role: Role = Role.ASSISTANT) -> Message:
    return Message(role, (TextPart(text),))


def test_blip_2_is_asked_as_its_authors_do(family: Get) -> None:
    model = family("blip-2")
    assert words(model, user(0, "What?"), images=1) == "<s>Question: What? Answer:"
    assert words(model, user(0), images=1) == "<s>"
    talk = (said("Be brief.", Role.SYSTEM), user("Who?"), said("A cat."), user("Where?"))
    assert words(model, *talk) == (
        "<s>Be brief. Question: Who? Answer: A cat. Question: Where? Answer:"
    )


def test_paligemma_is_asked_as_it_was_taught(family: Get) -> None:
    model = family("paligemma")
    assert words(model, user(0, "caption en"), images=1) == "<bos>caption en\n"
    assert words(model, said("Be brief.", Role.SYSTEM), user("detect ", 0, "cat"), images=1) == (
        "<bos>Be brief.\ndetect cat\n"
    )


def writer(model: Adapter, template: str | None) -> PromptWriter:
    return PromptWriter(model.tokenizer, template, "<image>", {"<image>"}, None)


def test_templates_that_take_text_get_text(family: Get) -> None:
    template = "{% for m in messages %}{{ '[' + m['content'] + ']' }}{% endfor %}"
    made = writer(family("llava"), template).write([user("A ", 0, "B")], 1, PromptOptions())[0]
    assert made == "[A <image>\nB]"


def test_templates_that_refuse_a_conversation_refuse_the_request(family: Get) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('/a/path') }}"
        "{% endif %}{{ '[' + m['content'] + ']' }}{% endfor %}"
    )
    with pytest.raises(InvalidRequest, match="refuses this conversation") as refused:
        writer(family("llava"), template).write(
            [said("Be brief.", Role.SYSTEM), user("?")], 0, PromptOptions()
        )
    assert "/a/path" not in refused.value.message


def test_pictures_that_a_template_leaves_out_are_told(family: Get) -> None:
    template = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'text' %}{{ c['text'] }}"
        "{% elif m['role'] == 'user' %}<image>{% endif %}{% endfor %}{% endfor %}"
    )
    made = writer(family("llava"), template)

    def write(messages: list[Message], images: int) -> str:
        return made.write(messages, images, PromptOptions())[0]

    assert write([user(0, "?")], 1) == "<image>?"
    pictured = Message(Role.SYSTEM, user(0, "Look").parts)
    with pytest.raises(InvalidRequest, match="put the images into user messages"):
        write([pictured, user("?")], 1)


@pytest.mark.parametrize("template", [None, "{{ broken", "{{ messages[0]['content'] | length }}"])
def test_templates_that_are_no_good_are_told(family: Get, template: str | None) -> None:
    with pytest.raises(ConfigError, match="chat template"):
        writer(family("llava"), template)


def test_a_text_that_begins_already_does_not_begin_twice(family: Get) -> None:
    tokenizer = family("gemma3").tokenizer
    begin = tokenizer.id_of("<bos>")
    assert tokenizer.encode("<bos>Hi").count(begin) == tokenizer.encode("Hi").count(begin) == 1
    assert tokenizer.encode("Hi", special=False).count(begin) == 0


def test_decoding_leaves_special_tokens_out(family: Get) -> None:
    model = family("gemma3")
    ids = model.tokenizer.encode("<bos>Hi<end_of_turn> there", special=False)
    assert model.decode(ids) == "Hi there"


def test_folders_are_made_alike(tmp_path: Path) -> None:
    """The proof of the families rests on seeds that were chosen beforehand."""
    tiny = TINY[0]
    first, second = (save(tiny, tmp_path / name) / "model.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
