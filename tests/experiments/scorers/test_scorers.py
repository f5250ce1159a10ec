"""What the scorers say about pairs of answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest

from silkline.config import ShadowSettings
from silkline.core import (
    Answer,
    Constraint,
    ConstraintKind,
    FinishReason,
    Message,
    Role,
    Sampling,
    TextPart,
    Timeline,
    Usage,
)
from silkline.errors import ConfigError, Overloaded
from silkline.experiments.scorers.known import OWN
from silkline.experiments.scorers.scorer import Pair, Scorer, Tools, find_scorer
from silkline.service.question import Question

SCHEMA = '{"type":"object","properties":{"price":{"type":"number"}},"required":["price"]}'


def pair(model: str, candidate: str, constraint: Constraint | None = None) -> Pair:
    question = Question(
        None, (Message(Role.USER, (TextPart("What is it?"),)),), (),
        Sampling(constraint=constraint), stream=False,
    )  # fmt: skip
    return Pair("r", question, model, candidate)


async def no_model(_: Question) -> Answer:
    raise AssertionError


def score(name: str, asked: Pair, tools: Tools | None = None) -> float | None:
    tools = tools or Tools(ShadowSettings(), no_model, lambda _: False)

    async def run() -> float | None:
        return await find_scorer(name, OWN).create(tools)(asked)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("model", "candidate", "expected"),
    [
        ("A red shoe.", "a red shoe", 0.0),
        ("a red shoe", "a blue shoe", -1.0),
        ('{"a": 1, "b": "x"}', '{"b": "X", "a": 1.0}', 0.0),
        ('{"a": 1, "b": "x"}', '{"a": 1, "b": "y"}', -0.5),
        ('{"a": 1}', "a is 1", -1.0),
        ("", "", 0.0),
    ],
)
def test_agreement(model: str, candidate: str, expected: float) -> None:
    assert score("agreement", pair(model, candidate)) == expected


@pytest.mark.parametrize(
    ("model", "candidate", "kind", "expected"),
    [
        ('{"price": 1}', '{"price": "1"}', ConstraintKind.JSON_SCHEMA, -1.0),
        ('{"price": 1', '{"price": 1}', ConstraintKind.JSON_SCHEMA, 1.0),
        ('{"price": 1}', '{"price": 2}', ConstraintKind.JSON_SCHEMA, 0.0),
        ("[1]", "{}", ConstraintKind.JSON_OBJECT, 1.0),
        ("one", "two", ConstraintKind.CHOICE, None),
        ("one", "two", None, None),
    ],
)
def test_schema(
    model: str, candidate: str, kind: ConstraintKind | None, expected: float | None
) -> None:
    constraint = None if kind is None else Constraint(kind, SCHEMA)
    assert score("schema", pair(model, candidate, constraint)) == expected


def judged(says: Any, model: str = "good", candidate: str = "bad") -> float | None:
    asked: list[Question] = []

    async def ask(question: Question) -> Answer:
        asked.append(question)
        return Answer(says(question), FinishReason.STOP, Usage(1, 1, 0), Timeline())

    settings = ShadowSettings(judge_model="large", scorers={"judge": 0.1})
    found = score("judge", pair(model, candidate), Tools(settings, ask, lambda _: True))
    assert {one.model for one in asked} <= {"large"}
    return found


def text_of(question: Question) -> str:
    part = question.messages[0].parts[0]
    assert isinstance(part, TextPart)
    return part.text


def prefers_good(question: Question) -> str:
    is_first = text_of(question).index("good") < text_of(question).index("bad")
    return '{"better": "%s"}' % ("first" if is_first else "second")


def test_a_judge_is_asked_in_both_orders() -> None:
    assert judged(prefers_good) == -1
    assert judged(prefers_good, "bad", "good") == 1
    assert judged(lambda _: '{"better": "first"}') == 0  # it only prefers a position
    assert judged(lambda _: '{"better": "same"}') == 0


def test_a_judge_that_does_not_answer_has_no_score() -> None:
    assert judged(lambda _: "The first one, I think.") is None
    assert judged(lambda _: '{"better": ["first"]}') is None


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = msgspec.json.decode(self.rfile.read(int(self.headers["content-length"])))
        reply = body["candidate_answer"].encode()  # the test says what to reply
        self.send_response(500 if reply == b"broken" else 200)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/score"
        server.shutdown()


def test_the_users_own_service_is_asked(url: str) -> None:
    tools = Tools(ShadowSettings(score_url=url), no_model, lambda _: False)
    assert score("http", pair("old", '{"score": -0.25}'), tools) == -0.25


@pytest.mark.parametrize("reply", ['{"score": 2}', '{"score": true}', "{}", "[]", "no", "broken"])
def test_a_service_that_replies_otherwise_has_no_score(url: str, reply: str) -> None:
    tools = Tools(ShadowSettings(score_url=url), no_model, lambda _: False)
    with pytest.raises(Overloaded, match="does not respond with a score"):
        score("http", pair("old", reply), tools)


def test_an_unknown_scorer_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"There is no scorer none\. There are: agreement, http"):
        find_scorer("none", OWN)


def test_a_scorer_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Scorer("mine", lambda _: no_score)
    monkeypatch.setattr(
        "silkline.experiments.scorers.scorer.entry_points", lambda group: Entries(own)
    )
    assert find_scorer("mine", OWN) is own


async def no_score(_: Pair) -> float | None:
    return None


class Entries:
    names = frozenset({"mine"})

    def __init__(self, found: Scorer) -> None:
        self._found = found

    def __getitem__(self, _: str) -> Entries:
        return self

    def load(self) -> Scorer:
        return self._found
