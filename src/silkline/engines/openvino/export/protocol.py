"""What the exporting process is told, and what it says: one line of JSON each."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from silkline.engines.openvino.export.plan import Plan


class Order(msgspec.Struct, frozen=True):
    """What to export, and into which folder."""

    plan: Plan
    folder: str


class Step(msgspec.Struct, frozen=True, tag="step"):
    """What is being done.

    Attributes:
        stage: In words.
        done: Parts of it that are done.
        total: Parts that it has; 0 where it cannot be told.
    """

    stage: str
    done: int = 0
    total: int = 0


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """How it ended.

    Attributes:
        kind: `done`, or what kept it from being done.
        message: What happened, for an error.
    """

    kind: Literal["done", "config", "environment", "full", "failed"]
    message: str = ""


Said: TypeAlias = Step | Ended
