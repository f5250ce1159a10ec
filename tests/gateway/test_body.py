"""What a client is told whose body is not of the documented form."""

import json
from pathlib import Path
from typing import Any

import pytest

from silkline.cache.policy import CacheUse
from silkline.core import EngineInfo
from silkline.errors import InputError
from silkline.gateway.body import decode
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.faces.content import PART_TYPES
from silkline.gateway.faces.predict import PredictRequest
from silkline.gateway.known_fields import INSTEAD, NEUTRAL, WITHOUT_EFFECT
from silkline.service.other_fields import sort_fields

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def taken(kind: type[ChatRequest | PredictRequest], body: dict[str, Any]) -> None:
    request, others = decode(json.dumps(body).encode(), kind)
    sort_fields(others, EngineInfo("any", "any", "0", "none", 1000, 1))
    if isinstance(request, ChatRequest):
        request.question(CacheUse.NORMAL)


def told(kind: type[ChatRequest | PredictRequest], body: dict[str, Any]) -> InputError:
    with pytest.raises(InputError) as caught:
        taken(kind, body)
    return caught.value


@pytest.mark.parametrize(
    ("field", "value", "taken"),
    [
        ("best_of", 2, "1"),
        ("functions", [{"name": "f"}], "[]"),
        ("function_call", {"name": "f"}, '"none" or "auto"'),
        ("echo", True, "false"),
        ("modalities", ["audio"], '["text"]'),
        ("typical_p", 0.5, "1"),
        ("top_n_sigma", 2, "-1"),
        ("options", {"a": 1}, "{}"),
        ("guided_whitespace_pattern", " ", "null"),
        ("audio", {"voice": "alloy"}, "null"),
    ],
)
def test_a_feature_that_there_is_not_is_named_with_what_is_taken(
    field: str, value: object, taken: str
) -> None:
    error = told(ChatRequest, {**ASKED, field: value})
    assert error.param == field
    assert error.message == f"The field {field} is not supported. Leave it out, or send {taken}."


def test_the_values_that_are_taken_are_taken() -> None:
    for kind, body in ((ChatRequest, ASKED), (PredictRequest, {"image_url": "data:,"})):
        own = getattr(kind, "NEUTRAL", {})
        for field, values in {**NEUTRAL, **own}.items():
            if field not in kind.__struct_fields__:
                for value in (None, *values):
                    taken(kind, {**body, field: value})


def test_the_documentation_names_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    for field in (*INSTEAD, *WITHOUT_EFFECT, *PredictRequest.NEUTRAL, *PredictRequest.INSTEAD):
        assert f"`{field}`" in page
    for field, values in NEUTRAL.items():
        taken = " ".join(f"`{json.dumps(value)}`" for value in values) or "-"
        assert f"| `{field}` | {taken} |" in page


def test_no_field_is_in_two_tables() -> None:
    assert not set(NEUTRAL) & set(INSTEAD)
    assert not (set(NEUTRAL) | set(INSTEAD)) & WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("image", "image_base64 or image_url"),
        ("question", "prompt"),
        ("max_completion_tokens", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
    ],
)
def test_a_field_of_another_name_is_told_ours(field: str, instead: str) -> None:
    error = told(PredictRequest, {field: "x"})
    assert error.message == f"The field {field} is not supported. Send {instead}."


def test_a_pictures_place_is_told() -> None:
    content = [
        {"type": "text", "text": "Compare"},
        {"type": "image_url", "image_url": {"url": "ftp://a.example/b.jpg"}},
    ]
    body = {"model": "m", "messages": [*ASKED["messages"], {"role": "user", "content": content}]}
    assert told(ChatRequest, body).param == "messages.1.content.1.image_url"


@pytest.mark.parametrize(
    ("message", "place", "taken"),
    [
        (
            {"role": "function", "content": "Hi"},
            "messages.1.role",
            "system, developer, user, assistant or tool",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]},
            "messages.1.content.1.type",
            PART_TYPES,
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "a", "detail": "max"}}],
            },
            "messages.1.content.0.image_url.detail",
            "auto, low, high or original",
        ),
    ],
)
def test_of_few_values_all_are_told(message: dict[str, Any], place: str, taken: str) -> None:
    error = told(ChatRequest, {**ASKED, "messages": [*ASKED["messages"], message]})
    assert error.param == place
    assert error.message == f"The field {place} is wrong: it must be {taken}."
