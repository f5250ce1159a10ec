"""Fields that are not the official client's, numbers of any spelling, null, turns without text."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from silkline.gateway.body import decode
from silkline.gateway.faces.chat_schema import ChatRequest
from tests.gateway.asking import MODEL, asked, messages
from tests.gateway.test_bad_input import check
from tests.pictures import data_url, encoded
from tests.serving import served

CHAT = "/v1/chat/completions"
PREDICT = "/predict"
URL = data_url(encoded())
IGNORED = "x-silkline-ignored"


def turn(**fields: Any) -> dict[str, Any]:
    """A chat body whose first turn has further fields."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hello", **fields}]}


def part(**fields: Any) -> dict[str, Any]:
    """A chat body whose image part has further fields."""
    image = {"type": "image_url", "image_url": {"url": URL}, **fields}
    return {"model": MODEL, "messages": [{"role": "user", "content": [image]}]}


def image(**fields: Any) -> dict[str, Any]:
    """A chat body whose image URL has further fields."""
    return part(image_url={"url": URL, **fields})


def good(reply: httpx2.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (asked(zeta=1, alpha={"b": [1, 2]}), "alpha,zeta"),
        (turn(mood="good"), "messages.mood"),
        (part(caption="a mug"), "messages.content.caption"),
        (image(licence="CC0"), "messages.content.image_url.licence"),
        (asked(stream_options={"extra": 1}), "stream_options.extra"),
        (asked(**{"a b\r\nc: d": 1, "é": 2}), "_,a_b__c__d"),
        (asked(**{"x" * 5000: 1}), "x" * 64),
        (asked(unknown=None), None),
    ],
)
def test_an_unknown_field_is_named_in_a_header(
    http: httpx2.Client, body: dict[str, Any], names: str | None
) -> None:
    for stream in (False, True):
        reply = http.post(CHAT, json={**body, "stream": stream})
        assert reply.status_code == 200, reply.text
        assert reply.headers.get(IGNORED) == names


def test_predict_names_unknown_fields_too(http: httpx2.Client) -> None:
    reply = http.post(PREDICT, json={"image_url": URL, "tag": "shop", "trace": 1})
    good(reply)
    assert reply.headers[IGNORED] == "tag,trace"


def test_a_client_cannot_make_the_header_long(http: httpx2.Client) -> None:
    reply = http.post(CHAT, json=asked(**{f"f{place:04}{'x' * 90}": 1 for place in range(64)}))
    good(reply)
    assert len(reply.headers[IGNORED].split(",")) == 16
    assert len(reply.headers[IGNORED]) < 1100


@pytest.mark.parametrize("count", [65, 3000])
def test_too_many_unknown_fields_are_refused(http: httpx2.Client, count: int) -> None:
    reply = http.post(CHAT, json=asked(**{f"f{place:04}": 1 for place in range(count)}))
    error = check(reply, 400, "invalid_request")
    assert error["param"] == "f0064"
    assert "more than 64 unknown fields" in error["message"]


def test_the_same_name_in_many_turns_is_named_once(http: httpx2.Client) -> None:
    turns = [{**messages()[0], "mood": place} for place in range(40)]
    reply = http.post(CHAT, json={"model": MODEL, "messages": turns})
    good(reply)
    assert reply.headers[IGNORED] == "messages.mood"


def test_requests_with_ignored_fields_are_counted_without_their_names(http: httpx2.Client) -> None:
    def counted() -> float:
        lines = http.get("/metrics").text.splitlines()
        name = "silkline_ignored_fields_total "
        return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = counted()
    http.post(CHAT, json=asked(canary=1, other=2))
    assert counted() == before + 2
    assert "canary" not in http.get("/metrics").text


@pytest.mark.parametrize(
    "field",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"reasoning_content": None},
        {"uuid": "a"},
        {"audio": None},
        {"tool_calls": None},
        {"refusal": None},
    ],
)
def test_what_has_no_effect_in_a_turn_or_a_part_is_taken(
    http: httpx2.Client, field: dict[str, Any]
) -> None:
    for body in (turn(**field), part(**field)):
        reply = http.post(CHAT, json=body)
        good(reply)
        assert IGNORED not in reply.headers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repetition_penalty", 1.0),
        ("repetition_penalty", 1),
        ("top_k", -1),
        ("top_k", 0),
        ("min_p", 0.0),
        ("typical_p", 1),
        ("best_of", 1),
        ("min_tokens", 0),
        ("ignore_eos", False),
        ("skip_special_tokens", True),
        ("chat_template_kwargs", {}),
        ("guided_json", None),
        ("structured_outputs", None),
        ("max_pixels", None),
        ("reasoning_effort", "none"),
        ("top_logprobs", 0),
        ("functions", []),
        ("seed", -1),
        ("seed", -(2**40)),
        ("priority", 5),
        ("user", 7),
    ],
)
def test_a_value_without_effect_is_taken(http: httpx2.Client, field: str, value: object) -> None:
    plain, reply = (http.post(CHAT, json=body) for body in (asked(), asked(**{field: value})))
    assert good(reply)["choices"] == good(plain)["choices"]
    assert IGNORED not in reply.headers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", True),
        ("typical_p", 0.5),
        ("best_of", 2),
        ("min_pixels", 3136),
        ("max_pixels", 12845056),
        ("guided_whitespace_pattern", " "),
        ("chat_template", "{{ 1 }}"),
        ("truncate_prompt_tokens", 5),
        ("use_beam_search", True),
        ("lora_path", "a"),
        ("images", ["aGk="]),
        ("max_new_tokens", 5),
        ("stop_sequences", ["a"]),
        ("system", "Be brief."),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("web_search_options", {}),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    http: httpx2.Client, field: str, value: object
) -> None:
    error = check(http.post(CHAT, json=asked(**{field: value})), 400, "invalid_request")
    assert error["param"] == field
    assert field in error["message"]


@pytest.mark.parametrize("field", ["min_pixels", "max_pixels", "resized_width", "prefix"])
def test_it_is_refused_in_a_turn_and_in_a_part_too(http: httpx2.Client, field: str) -> None:
    for body, place in (
        (turn(**{field: True}), f"messages.0.{field}"),
        (part(**{field: True}), f"messages.0.content.0.{field}"),
        (image(**{field: True}), f"messages.0.content.0.image_url.{field}"),
    ):
        assert check(http.post(CHAT, json=body), 400, "invalid_request")["param"] == place


@pytest.mark.parametrize("field", ["seed", "top_p", "stop", "stream", "messages", "top_k"])
def test_predict_refuses_what_only_chat_has(http: httpx2.Client, field: str) -> None:
    body = {"image_url": URL, field: True}
    assert check(http.post(PREDICT, json=body), 400, "invalid_request")["param"] == field


@pytest.mark.parametrize("value", [1e300, 2**31, -1])
def test_min_tokens_beyond_its_range_is_named(http: httpx2.Client, value: float) -> None:
    for url, body in ((CHAT, asked()), (PREDICT, {"image_url": URL})):
        reply = http.post(url, json={**body, "min_tokens": value})
        assert check(reply, 400, "invalid_request")["param"] == "min_tokens"


def test_null_is_absent_in_predict(http: httpx2.Client) -> None:
    plain = good(http.post(PREDICT, json={"image_url": URL}))
    fields = ("prompt", "max_tokens", "temperature", "model", "image_base64", "seed", "other")
    reply = http.post(PREDICT, json={"image_url": URL, **dict.fromkeys(fields)})
    assert good(reply)["response"] == plain["response"]
    assert IGNORED not in reply.headers


@pytest.mark.parametrize("text", ["3.0", "3e0", "0.3e1", "30E-1", "3"])
def test_a_whole_number_is_one_however_it_is_written(http: httpx2.Client, text: str) -> None:
    chat = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "Hi"}}], '
    for field in ("max_tokens", "max_completion_tokens"):
        body = f'{chat} "{field}": {text}, "seed": {text}, "n": 1.0}}'
        reply = http.post(CHAT, content=body, headers={"content-type": "application/json"})
        assert good(reply)["usage"]["completion_tokens"] == 3
    body = f'{{"image_url": "{URL}", "max_tokens": {text}}}'
    reply = http.post(PREDICT, content=body, headers={"content-type": "application/json"})
    assert good(reply)["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("value", [16.5, 0.1, -0.5])
def test_half_a_number_is_not(http: httpx2.Client, value: float) -> None:
    for url, body in ((CHAT, asked(max_tokens=value)), (PREDICT, {"max_tokens": value})):
        error = check(http.post(url, json=body), 400, "invalid_request")
        assert error["param"] == "max_tokens"
        assert "it must be an integer" in error["message"]


@pytest.mark.parametrize("value", [0, 1e-40, 0.0099, 10.01])
def test_a_repetition_penalty_is_within_its_range(http: httpx2.Client, value: float) -> None:
    good(http.post(CHAT, json=asked(repetition_penalty=0.01)))
    reply = http.post(CHAT, json=asked(repetition_penalty=value))
    assert check(reply, 400, "invalid_request")["param"] == "repetition_penalty"


@pytest.mark.parametrize("seed", [-1, -1.0, -(2**70), None])
def test_a_negative_seed_is_none(http: httpx2.Client, seed: object) -> None:
    """Two answers of chance differ, where a seed would make them one."""
    bodies = [asked(seed=seed, temperature=1.0)] * 4
    assert len({str(good(http.post(CHAT, json=body))["choices"]) for body in bodies}) > 1


def history(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, "messages": [*messages(text="Hi"), *turns, *messages(text="Why?")]}


@pytest.mark.parametrize("said", [{"content": None}, {}, {"refusal": None}])
def test_an_assistants_turn_without_content_is_an_empty_one(
    http: httpx2.Client, said: dict[str, Any]
) -> None:
    empty = good(http.post(CHAT, json=history({"role": "assistant", "content": ""})))
    reply = http.post(CHAT, json=history({"role": "assistant", **said}))
    assert good(reply)["usage"] == empty["usage"]


def test_a_refusal_is_what_the_assistant_said(http: httpx2.Client) -> None:
    turns: list[dict[str, Any]] = [
        {"role": "assistant", "content": "I will not."},
        {"role": "assistant", "content": None, "refusal": "I will not."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]},
    ]
    replies = [good(http.post(CHAT, json=history(turn)))["choices"] for turn in turns]
    assert replies[0] == replies[1] == replies[2]


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_another_turn_without_content_is_refused(http: httpx2.Client, role: str) -> None:
    for content in ({"content": None}, {}):
        body = history({"role": role, **content})
        error = check(http.post(CHAT, json=body), 400, "invalid_request")
        assert error["param"] == "messages.1.content"


def test_a_tool_message_needs_the_id_of_its_call(http: httpx2.Client) -> None:
    error = check(
        http.post(CHAT, json=history({"role": "tool", "content": "3"})), 400, "invalid_request"
    )
    assert error["param"] == "messages.1.tool_call_id"


def test_fields_below_the_top_level_are_never_kept_for_a_remote() -> None:
    body = {**asked(mood=1, echo=True), **turn(mood=[2], tone=3)}
    _, others = decode(json.dumps(body).encode(), ChatRequest)
    found = {other.path: (other.value, other.refusal is None) for other in others}
    assert found == {
        "mood": (1, True),
        "echo": (True, False),
        "messages.0.mood": (None, True),
        "messages.0.tone": (None, True),
    }


@pytest.fixture(scope="module")
def strict() -> Iterator[httpx2.Client]:
    with (
        served(
            "--engine", "fake", "--strict-fields", "true", "--max-answer-tokens", "64"
        ) as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (asked(mood=1), "mood"),
        (turn(mood=1), "messages.0.mood"),
        (image(licence="CC0"), "messages.0.content.0.image_url.licence"),
        (asked(max_tokens=65), "max_tokens"),
    ],
)
def test_strict_fields_refuses(strict: httpx2.Client, body: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        reply = strict.post(CHAT, json={**body, "stream": stream})
        assert check(reply, 400, "invalid_request")["param"] == param


def test_strict_fields_takes_what_is_known(strict: httpx2.Client) -> None:
    good(strict.post(CHAT, json=asked(user="a", verbosity="low", max_tokens=64, extra=None)))
    reply = strict.post(PREDICT, json={"image_url": URL, "mood": 1})
    assert check(reply, 400, "invalid_request")["param"] == "mood"
