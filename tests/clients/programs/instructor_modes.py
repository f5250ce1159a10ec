"""Instructor in each of its modes for servers with OpenAI's and Anthropic's API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import anthropic
import instructor
import openai
from cases import ECHO_URL, KEY, MODEL, QUESTION, RED, URL, V1, case, check, data_url, main
from instructor import Mode
from pydantic import BaseModel

OPENAI_IN_WORDS = {Mode.MD_JSON}
ANTHROPIC_IN_WORDS = {Mode.ANTHROPIC_JSON, Mode.JSON, Mode.JSON_SCHEMA}
"""Modes that only ask for the form in words: the server that they get repeats their message."""

JSON = '{"category": "mug", "count": 1}'
SAMPLES = {Mode.MD_JSON: f"```json\n{JSON}\n```"}


class Record(BaseModel):
    """A product's record."""

    category: str
    count: int


class Loose(BaseModel):
    """A record that every JSON object is: the form is only asked for in words."""


def openai_client(mode: Mode) -> Any:
    base = f"{ECHO_URL}/v1" if mode in OPENAI_IN_WORDS else V1
    return instructor.from_openai(
        openai.OpenAI(base_url=base, api_key=KEY, max_retries=0), mode=mode
    )


def anthropic_client(mode: Mode) -> Any:
    base = ECHO_URL if mode in ANTHROPIC_IN_WORDS else URL
    made = anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0)
    return instructor.from_anthropic(made, mode=mode)


def modes(make: Any) -> Iterator[Mode]:
    """The modes that this provider has."""
    for mode in Mode:
        try:
            make(mode)
        except Exception:  # noqa: BLE001 - it is not one of the provider's
            continue
        yield mode


def ask(text: str = QUESTION) -> Any:
    return [{"role": "user", "content": [text, instructor.Image.from_base64(data_url(RED))]}]


def create(made: Any, messages: Any, kind: Any, **fields: Any) -> Any:
    return made.create(model=MODEL, messages=messages, response_model=kind, max_retries=0, **fields)


def created(made: Any, mode: Mode, *, in_words: bool, **fields: Any) -> None:
    if "PARALLEL" in mode.name:
        records = list(create(made, ask("Give each Record."), Iterable[Record], **fields))
        check(records and all(isinstance(each, Record) for each in records), records)
        return
    messages = [{"role": "user", "content": SAMPLES.get(mode, JSON)}] if in_words else ask()
    kind = Loose if mode is Mode.JSON else Record
    record = create(made, messages, kind, **fields)
    check(isinstance(record, kind), (mode, record))


def of_openai(mode: Mode) -> None:
    @case("structured", f"from_openai, Mode.{mode.name}")
    def structured() -> None:
        created(openai_client(mode), mode, in_words=mode in OPENAI_IN_WORDS)


def of_anthropic(mode: Mode) -> None:
    @case("structured", f"from_anthropic, Mode.{mode.name}")
    def structured() -> None:
        in_words = mode in ANTHROPIC_IN_WORDS
        created(anthropic_client(mode), mode, in_words=in_words, max_tokens=500)


for chosen in modes(openai_client):
    of_openai(chosen)
for chosen in modes(anthropic_client):
    of_anthropic(chosen)


@case("stream", "create_partial")
def partial() -> None:
    made = openai_client(Mode.JSON_SCHEMA)
    *_, last = made.create_partial(
        model=MODEL, messages=ask(), response_model=Record, max_retries=0
    )
    check(isinstance(last.category, str) and isinstance(last.count, int), last)


@case("stream", "create_iterable")
def iterable() -> None:
    made = openai_client(Mode.TOOLS)
    records = list(
        made.create_iterable(model=MODEL, messages=ask(), response_model=Record, max_retries=0)
    )
    check(all(isinstance(record, Record) for record in records), records)


if __name__ == "__main__":
    main("instructor")
