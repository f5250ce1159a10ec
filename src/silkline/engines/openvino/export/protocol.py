"""The messages to and from the exporting process, each one line of JSON."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from silkline.engines.openvino.export.plan import Plan


class Order(msgspec.Struct, frozen=True):
    """The plan of an export and the folder to write it to."""

    plan: Plan
    folder: str


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The progress of an export.

    Attributes:
        stage: The current stage, human-readable.
        done: Number of its parts that are done.
        total: Number of its parts; 0 if unknown.
    """

    stage: str
    done: int = 0
    total: int = 0


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The result of an export.

    Attributes:
        kind: `done`, or the kind of error.
        message: The error's message; empty for `done`.
    """

    kind: Literal["done", "config", "environment", "full", "failed"]
    message: str = ""


Report: TypeAlias = Step | Ended
