"""What reuse inside the engines saves: questions about images that an engine has seen.

    python -m benchmarks.reuse [--only openvino,torch] [--rounds 12] [--bursts 3]

The model is the LLaVA layout of 230 million random parameters of `benchmarks.engines`; images are
noise, each another one. One request at a time, the time to the first token: of the first question
about an image, of a second question about it, and of a second turn of the conversation. Then 16
questions at once about 16 new images, and 16 others about the same images. All of it with reuse and
without.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from benchmarks import engines_subject
from benchmarks.engines import prepare
from benchmarks.engines_subject import SIDE
from benchmarks.machine import machine, versions
from benchmarks.options import ROOT
from benchmarks.report import command_line, today, write_report
from silkline.core import Image, ImagePart, Message, Request, Role, Sampling, TextPart, Usage
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.ingress.identity import image_digest

BATCH = 16
TOKENS = 32
MAX_SHARE = 0.4
MIN_SPEEDUP = 2.5
_FIRST = "Describe this product."
_SECOND = "What is written on it?"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An engine, with reuse or without; medians.

    Attributes:
        engine: Its name.
        reuse: Whether it reused.
        first: Seconds to the first token of the first question about an image.
        second: The same of a second question.
        turn: The same of a second turn.
        second_share: `second` as a share of `first`, round by round.
        cached: Share of the second question's prompt that was reported as cached.
        burst: Seconds for 16 questions about 16 new images.
        again: The same for other questions about the same images.
        speedup: `burst` divided by `again`, round by round.
    """

    engine: str
    reuse: bool
    first: float
    second: float
    turn: float
    second_share: float
    cached: float
    burst: float
    again: float
    speedup: float


class Report(msgspec.Struct, frozen=True):
    """The whole run."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    found: list[Found]


def image(number: int) -> Image:
    """An image of noise."""
    pixels = engines_subject.image(number).tobytes()
    return Image(SIDE, SIDE, pixels, image_digest("RGB", SIDE, SIDE, pixels))


def asked(shown: Image, text: str, tokens: int, answer: str = "") -> Request:
    """A question; with an answer to the first one, the second turn of a conversation."""
    turns = [Message(Role.USER, (ImagePart(0), TextPart(_FIRST if answer else text)))]
    if answer:
        turns.append(Message(Role.ASSISTANT, (TextPart(answer),)))
        turns.append(Message(Role.USER, (TextPart(text),)))
    sampling = Sampling(max_tokens=tokens, ignore_eos=True)
    return Request("bench", tuple(turns), (shown,), sampling, stream=False)


async def usage_of(engine: Engine, request: Request) -> Usage:
    """Asks, and returns the usage."""
    usage = Usage(0, 0)
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            usage = delta.usage or usage
    return usage


async def timed(engine: Engine, requests: Sequence[Request]) -> tuple[float, list[Usage]]:
    """Asks all at once; seconds until the last one is answered."""
    began = time.perf_counter()
    usages = await asyncio.gather(*(usage_of(engine, each) for each in requests))
    return time.perf_counter() - began, usages


async def measure(
    name: str, folder: Path, *, reuse: bool, rounds: int, bursts: int, start: int
) -> Found:
    """Measures an engine with images from the number `start` on."""
    extra = {"reuse": str(reuse).lower()}
    engine = create_engine(name, EngineOptions(model=folder, max_batch=BATCH, extra=extra))
    await engine.start()
    try:
        await timed(engine, [asked(image(start), _FIRST, TOKENS)] * 2)
        lone = []
        for number in range(rounds):
            shown = image(start + 1 + number)
            first, _ = await timed(engine, [asked(shown, _FIRST, 1)])
            second, (usage,) = await timed(engine, [asked(shown, _SECOND, 1)])
            turn, _ = await timed(engine, [asked(shown, _SECOND, 1, "It is a word. " * 4)])
            lone.append((first, second, turn, usage.cached_tokens / usage.prompt_tokens))
        together = []
        for number in range(bursts):
            begin = start + 1 + rounds + number * BATCH
            shown_together = [image(begin + index) for index in range(BATCH)]
            pair = []
            for text in (_FIRST, _SECOND):
                seconds, _ = await timed(
                    engine, [asked(each, text, TOKENS) for each in shown_together]
                )
                pair.append(seconds)
            together.append(pair)
            print(f"{name}, reuse {reuse}: {pair[0]:.2f} s, then {pair[1]:.2f} s", flush=True)
    finally:
        await engine.aclose()
    median = statistics.median
    return Found(
        engine=name,
        reuse=reuse,
        first=round(median(each[0] for each in lone), 4),
        second=round(median(each[1] for each in lone), 4),
        turn=round(median(each[2] for each in lone), 4),
        second_share=round(median(each[1] / each[0] for each in lone), 3),
        cached=round(median(each[3] for each in lone), 3),
        burst=round(median(pair[0] for pair in together), 3),
        again=round(median(pair[1] for pair in together), 3),
        speedup=round(median(pair[0] / pair[1] for pair in together), 2),
    )


def markdown(made: Report) -> str:
    """The report for people."""
    lines = ["# Reuse inside the engines", "", f"`{made.command}`", ""]
    lines += [f"- {name}: {value}" for name, value in {**made.machine, **made.versions}.items()]
    lines += [
        "",
        "Milliseconds to the first token, one request at a time:",
        "",
        "| engine | reuse | first | second | second turn | second / first | aim | cached tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.engine} | {'on' if each.reuse else 'off'} | {1000 * each.first:.0f} | "
        f"{1000 * each.second:.0f} | {1000 * each.turn:.0f} | {each.second_share:.0%} | "
        f"{f'at most {MAX_SHARE:.0%}' if each.reuse else ''} | {each.cached:.0%} |"
        for each in made.found
    ]
    lines += [
        "",
        f"Seconds for {BATCH} questions at once, {TOKENS} tokens each:",
        "",
        "| engine | reuse | new images | the same again | times faster | aim |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.engine} | {'on' if each.reuse else 'off'} | {each.burst:.2f} | "
        f"{each.again:.2f} | {each.speedup:.2f} | "
        f"{f'at least {MIN_SPEEDUP:g}' if each.reuse else ''} |"
        for each in made.found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="openvino,torch", help="engines by name, with commas")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--bursts", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "engines")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    folders = prepare(arguments.cache, names, None)
    found: list[Found] = []
    for name in names:
        for reuse in (False, True):
            run = measure(
                name,
                folders[name],
                reuse=reuse,
                rounds=arguments.rounds,
                bursts=arguments.bursts,
                start=len(found) * 10_000,
            )
            found.append(asyncio.run(run))
    made = Report(command_line("reuse"), machine(), versions(), found)
    write_report(made, markdown(made), arguments.results, "llava-230m", today(), "reuse")
    print(markdown(made))


if __name__ == "__main__":
    main()
