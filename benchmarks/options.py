"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.subjects import Place

ROOT = Path(__file__).parents[1]


def base_parser(description: str) -> argparse.ArgumentParser:
    """A parser that knows what is measured, where things are, and where reports go."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--model", default="silkline-mini")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    return parser


def place_of(arguments: argparse.Namespace) -> Place:
    """The place that was chosen."""
    return Place(arguments.cache, arguments.engine, arguments.model)
