"""Runs the cases of a client's program, and prints the outcome of each as a line of JSON.

A program is written as a user of the client would write it. It gets the server's address and two
images from its environment, and needs nothing of Silkline:

    SILKLINE_URL=http://127.0.0.1:8000 SILKLINE_ECHO_URL=http://127.0.0.1:8001 \\
        RED=red-mug.jpg GREEN=green-sofa.jpg \\
        python tests/clients/programs/openai_sdk.py stream tools

The arguments choose features; without them all cases run.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

URL = os.environ["SILKLINE_URL"]
V1 = f"{URL}/v1"
ECHO_URL = os.environ["SILKLINE_ECHO_URL"]
"""A server whose answer is the last message: for clients that only ask for a form in words."""

KEY = "none"
MODEL = "silkline-mini"
RED = Path(os.environ["RED"]).read_bytes()
GREEN = Path(os.environ["GREEN"]).read_bytes()
PDF = os.environ.get("PDF", "")
QUESTION = "Describe this product."
TOOL_QUESTION = "What does it cost? Ask price."
"""The fake engine calls a tool that is named in the question."""

REFUSALS = range(400, 500)

_CASES: list[tuple[str, str, Callable[[], Any]]] = []


def data_url(image: bytes) -> str:
    """A JPEG as a data URL."""
    return f"data:image/jpeg;base64,{in_base64(image)}"


def in_base64(data: bytes) -> str:
    """Bytes in Base64."""
    return base64.b64encode(data).decode()


def case(feature: str, way: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Marks a function as a case: it raises if the client does not get what it asked for.

    Args:
        feature: A column of the page's table.
        way: What the client's user writes for it.
    """

    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        _CASES.append((feature, way, function))
        return function

    return add


def check(condition: object, seen: object = None) -> None:
    """Raises if the condition is false, with what was seen instead."""
    if not condition:
        raise AssertionError(f"seen: {seen!r}"[:600])


def main(package: str) -> None:
    """Runs the cases that the command line chooses, and prints their outcomes."""
    chosen = set(sys.argv[1:])
    warnings.simplefilter("ignore")
    for feature, way, function in _CASES:
        if chosen and feature not in chosen:
            continue
        outcome, message = _run(function)
        line = {
            "version": version(package),
            "feature": feature,
            "way": way,
            "outcome": outcome,
            "message": message,
        }
        print(json.dumps(line), flush=True)  # noqa: T201 - what a program is for


def _run(function: Callable[[], Any]) -> tuple[str, str]:
    try:
        result = function()
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
    except Exception as error:  # noqa: BLE001 - every failure is an outcome
        refusal = next(filter(None, map(_refusal, _chain(error))), None)
        if refusal is not None:
            return "refused", refusal
        traceback.print_exc()
        return "broken", f"{type(error).__name__}: {error}"[:2000]
    return "works", ""


async def _awaited(result: Any) -> None:
    await result


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _refusal(error: BaseException) -> str | None:
    """The server's message, if the error is an answer with a status from 400 to 499."""
    if getattr(error, "status_code", 0) not in REFUSALS:
        return None
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        return str(body.get("error", body).get("message", body))
    return str(error)
