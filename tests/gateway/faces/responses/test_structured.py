"""Structured output in responses, as the official client asks for it."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx2
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.gateway.asking import MODEL
from tests.gateway.faces.responses.asking import RESPONSES, asked, checked_response, user
from tests.pictures import data_url, encoded


class Product(BaseModel):
    kind: Literal["mug", "lamp"]
    count: int
    labels: list[str]


def test_the_official_client_parses_an_answer(openai: OpenAI) -> None:
    sent: Any = user(data_url(encoded()))
    response = openai.responses.parse(model=MODEL, input=sent, text_format=Product)
    assert response.output_parsed is not None
    assert response.output_parsed == Product.model_validate_json(response.output_text)
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_schema"


def test_the_official_client_parses_a_stream(openai: OpenAI) -> None:
    with openai.responses.stream(model=MODEL, input="Hello", text_format=Product) as stream:
        parsed = [event.parsed for event in stream if event.type == "response.output_text.done"]
        response = stream.get_final_response()
    assert parsed == [response.output_parsed]
    assert isinstance(response.output_parsed, Product)


def test_any_json_object(http: httpx2.Client) -> None:
    body = asked(text={"format": {"type": "json_object"}})
    response = checked_response(http.post(RESPONSES, json=body).json())
    assert isinstance(json.loads(response["output"][0]["content"][0]["text"]), dict)
    assert response["text"]["format"]["type"] == "json_object"


def test_a_cut_answer_is_incomplete(http: httpx2.Client) -> None:
    schema = {"type": "json_schema", "name": "p", "schema": Product.model_json_schema()}
    body = asked(text={"format": schema}, max_output_tokens=3)
    response = checked_response(http.post(RESPONSES, json=body).json())
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("kind", [{"type": "colour"}, {"minLength": -1}])
def test_a_schema_that_is_wrong_is_refused(http: httpx2.Client, kind: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": kind}}
    body = asked(text={"format": {"type": "json_schema", "name": "p", "schema": schema}})
    reply = http.post(RESPONSES, json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == "text.format"
