"""Server-sent events arrive in any pieces, and a stream that ends early is an error."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.console.driver import Console
from tests.console.stand_in import (
    DONE,
    Reply,
    StandIn,
    Step,
    account,
    chunk,
    error_body,
    event,
    stream,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAMS: list[tuple[str, list[tuple[str, str]]]] = [
    ("data: a\n\ndata: b\n\n", [("message", "a"), ("message", "b")]),
    ("data: a\r\n\r\ndata: b\r\n\r\n", [("message", "a"), ("message", "b")]),
    ("data: a\r\rdata: b\r\r", [("message", "a"), ("message", "b")]),
    ("data: a\r\n\ndata: b\n\r", [("message", "a"), ("message", "b")]),
    ("event: error\ndata: x\n\ndata: y\n\n", [("error", "x"), ("message", "y")]),
    ("event: error\r\ndata: 1\r\ndata: 2\r\n\r\n", [("error", "1\n2")]),
    ("\ufeffdata: mark\n\n", [("message", "mark")]),
    ("data: one\ndata: two\ndata:\n\n", [("message", "one\ntwo\n")]),
    (": comment\n\nid: 7\nretry: 9\ndata\n\n", [("message", "")]),
    ("data:  two spaces: and a colon\n\n", [("message", " two spaces: and a colon")]),
    ("data: 漢字 é 🧵\n\n", [("message", "漢字 é 🧵")]),
    ("event: lost\n\ndata: kept\n\n", [("message", "kept")]),
    ("data: whole\n\ndata: unfinished\n", [("message", "whole")]),
    ("", []),
]

PARSE = """async (texts) => {
  const { events } = await import("./sse.js");
  const body = (chunks) => new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(chunk));
      controller.close();
    },
  });
  const parse = async (chunks) => {
    const found = [];
    for await (const { event, data } of events(body(chunks))) found.push([event, data]);
    return JSON.stringify(found);
  };
  const results = [];
  for (const text of texts) {
    const bytes = new TextEncoder().encode(text);
    const single = [...bytes].map((byte) => Uint8Array.of(byte));
    const seen = new Set([await parse([bytes]), await parse(single)]);
    for (let first = 0; first <= bytes.length; first += 1) {
      for (let second = first; second <= bytes.length; second += 1) {
        const cuts = [[0, first], [first, second], [second, bytes.length]];
        seen.add(await parse(cuts.map(([start, end]) => bytes.slice(start, end))));
      }
    }
    results.push([...seen].map((found) => JSON.parse(found)));
  }
  return results;
}"""


async def test_events_do_not_depend_on_how_bytes_arrive(console: Console) -> None:
    """Every stream whole, byte by byte, and cut at every two places."""
    results = await console.page.evaluate(PARSE, [text for text, _ in STREAMS])
    for (text, expected), found in zip(STREAMS, results, strict=True):
        assert found == [[list(pair) for pair in expected]], text


async def ask(console: Console, stand_in: StandIn, reply: Reply) -> None:
    """Ask about the picture that is there, and wait until the answer is over."""
    stand_in.reply = reply
    before = len(stand_in.bodies)
    await console.ask("What is this?")
    await console.ended()
    assert len(stand_in.bodies) == before + 1


async def test_an_answer_over_the_network_in_awkward_pieces(
    console: Console, stand_in: StandIn
) -> None:
    whole = b": hello\r\n\r\n" + event(chunk("Größe "), newline="\r\n")
    whole += event(chunk("漢字 🧵"), newline="\r\n") + event(account()) + DONE
    cuts = {whole.index("ö".encode()) + 1, whole.index("🧵".encode()) + 2, whole.index(b"\r\n") + 1}
    cuts |= {whole.index(b"\r\n\r\n", 20) + offset for offset in (1, 2, 3)}
    places = [0, *sorted(cuts), len(whole)]
    steps: list[Step] = []
    for start, end in itertools.pairwise(places):
        steps += [whole[start:end], 0.02]
    await console.use_sample()
    await ask(console, stand_in, stream(*steps))
    assert await console.text("#text") == "Größe 漢字 🧵"
    assert await console.text("#tokens-completion") == "21"


PIECE = event(chunk("A red "))


WRONG_ENDS = {
    "no end": (stream(PIECE), "stream_cut", "The answer is incomplete"),
    "connection lost": (stream(PIECE, 0.2, cut=True), "stream_cut", "The answer is incomplete"),
    "unfinished end": (stream(PIECE, b"data: [DONE]"), "stream_cut", "The answer is incomplete"),
    "no JSON": (
        stream(PIECE, event("{no json")),
        "stream_unreadable",
        "The answer could not be read",
    ),
    "error event": (
        stream(PIECE, event(error_body("worker_lost", "The engine ended."), kind="error")),
        "worker_lost",
        "The engine stopped while answering",
    ),
}


async def test_a_stream_that_ends_wrongly_is_an_error(console: Console, stand_in: StandIn) -> None:
    console.expected = ("ERR_",)
    await console.use_sample()
    for name, (reply, code, title) in WRONG_ENDS.items():
        await ask(console, stand_in, reply)
        assert await console.text("#failure-code") == code, name
        assert await console.text("#failure-title") == title, name
        assert (await console.text("#text")).strip() == "A red", name
        assert await console.text("#request-id") == f"req-{len(stand_in.bodies):04d}", name


async def test_what_is_no_stream_is_no_answer(console: Console, stand_in: StandIn) -> None:
    page = Reply([b"<h1>Log in</h1>"], headers={"content-type": "text/html"})
    await console.use_sample()
    await ask(console, stand_in, page)
    assert await console.text("#failure-code") == "not_a_stream"


ODD_CHUNKS: list[Any] = [
    {},
    [],
    None,
    7,
    {"choices": None},
    {"choices": [{}]},
    {"choices": [{"delta": {"content": 7}}]},
    {"usage": {"prompt_tokens": "many"}, "silkline": {"timeline": {"decode": -1, "x": 1}}},
    {"silkline": {"timeline": "soon", "cache": None}},
]


@pytest.mark.slow
async def test_odd_chunks_do_no_harm(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    for odd in ODD_CHUNKS:
        await ask(console, stand_in, stream(PIECE, event(odd), event(chunk("mug.")), DONE))
        assert await console.text("#text") == "A red mug.", odd
        assert await console.page.is_hidden("#failure"), odd


async def test_before_the_first_token_the_panel_says_what_goes_on(
    console: Console, stand_in: StandIn
) -> None:
    go_on = asyncio.Event()
    stand_in.reply = stream(b": waiting\n\n", go_on, PIECE, DONE)
    await console.use_sample()
    await console.ask("What is this?")
    await console.until_text("#phase", "Looking at the picture")
    go_on.set()
    await console.until_text("#text", "A red")
    await console.ended()
