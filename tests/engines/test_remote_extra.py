"""Which unknown fields of a request a remote server gets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.config import RemoteSettings
from silkline.engines.remote.extra import passed_on
from silkline.engines.remote.fields import RESERVED

DEEP: Any = "http://10.0.0.1"
for _ in range(20_000):
    DEEP = [DEEP]


def remote(**given: Any) -> RemoteSettings:
    return RemoteSettings(url="http://a", **given)


def passes(name: str, value: Any = 1, **given: Any) -> bool:
    return passed_on({name: value}, [remote(**given)]) == {name}


@pytest.mark.parametrize(("name", "value"), [
    ("mood", "happy"), ("samplers", ["top_k"]), ("truncate_prompt_tokens", 5),
    ("allowed_token_ids", [1]), ("cache_salt", "x"), ("thinking", {"type": "enabled"}),
    ("documents", [{"title": "a", "text": "It is described at http://example.org."}]),
    ("authors", ["x"]), ("keyboard", 1), ("max_pixels", 9), ("spaces_between_special_tokens", True),
    ("ratio", "3/4"), ("curl", 1), ("monkey", 1), ("note", "a: b"), ("hosted", 1),
])  # fmt: skip
def test_other_fields_pass(name: str, value: Any) -> None:
    assert passes(name, value)


@pytest.mark.parametrize("name", [
    "api_key", "apiKey", "APIKEY", "X-Api-Key", "key", "hf_token", "access-token", "accessToken",
    "authorization", "Authorization", "auth", "password", "client_secret", "credentials",
    "extra_headers", "cookie", "bearer_value",
    "url", "base_url", "baseUrl", "image_urls", "webhook", "callback_uri", "proxy", "remote_host",
    "mcp_servers", "lora_path", "kv_transfer_params", "server_url",
    "chat_template", "Chat-Template", "chatTemplate", "prompt_template",
    "logits_processors", "custom_logit_processor",
    "priority", "Priority", "use_beam_search", "useBeamSearch",
])  # fmt: skip
def test_urls_credentials_code_and_costs_need_their_exact_name(name: str) -> None:
    assert not passes(name)
    assert not passes("odd", {"deep": [{name: 1}]})
    assert not passes(name, pass_fields=["*", name[:-1] + "*"])
    assert passes(name, pass_fields=[name])
    assert passes(name, pass_fields=["*", name])
    assert not passes(name, pass_fields=[name], block_fields=[name])


@pytest.mark.parametrize("value", [
    "http://10.0.0.1", "HTTPS://a", " \n http://a", "ht\ntp://a", "\x00http://a", "//a/b", "\\\\a",
    "http:\\\\a", "file:/etc/passwd", "data:text/plain,x", "s3://a", "grpc+unix://a",
    "http:10.0.0.1", "\u200bhttp://a",
])  # fmt: skip
def test_values_that_are_urls_need_the_exact_name_of_their_field(value: str) -> None:
    assert not passes("where", value)
    assert not passes("where", [{"a": [1, value]}])
    assert passes("where", value, pass_fields=["where"])


def test_a_url_is_found_however_deep_it_lies() -> None:
    assert not passes("odd", DEEP)


def test_lists_of_names() -> None:
    assert passes("vllm_x", pass_fields=["vllm_*"])
    assert not passes("other", pass_fields=["vllm_*"])
    assert not passes("other", pass_fields=[])
    assert not passes("Vllm_x", block_fields=["vllm_*"])
    assert passes("other", block_fields=["vllm_*"])
    assert passes("a", pass_fields="a+b") and not passes("c", pass_fields="a+b")  # noqa: PT018


def test_a_field_passes_if_every_remote_may_get_it() -> None:
    fields = {"a": 1, "b": 1, "c": 1}
    remotes = [remote(), remote(block_fields=["a"]), remote(pass_fields=["a", "b"])]
    assert passed_on(fields, remotes) == {"b"}
    assert passed_on(fields, []) == frozenset()


@pytest.mark.parametrize("name", sorted({
    *RESERVED, "prompt_embeds", "prompt_token_ids", "input_ids", "best_of", "echo",
}))  # fmt: skip
def test_what_silkline_sets_never_passes(name: str) -> None:
    assert not passes(name, pass_fields=[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=9), JSON), st.sampled_from(["api_key", "base_url"]))
def test_nothing_guarded_passes_inside_of_anything(fields: dict[str, Any], name: str) -> None:
    passed = passed_on(fields, [remote()])
    assert passed <= fields.keys()
    assert not passed_on({"outer": [fields, {name: 1}]}, [remote()])
