"""Comparisons before shipping: vision towers by speed and accuracy, engines by their answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from recipes.mini.chat import format_prompt
from recipes.mini.compress import pixel_values
from recipes.mini.genai import Runner
from recipes.mini.quiz import ask
from recipes.mini.records import score_records
from recipes.mini.render import render
from recipes.mini.scene import VALIDATION_SEEDS, sample_scene
from recipes.mini.wordings import RECORD_QUESTION
from silkline.engines.openvino.arithmetic import arithmetic

_TOWER_PICTURES = 300
_ALLOWED_LOSS = 0.005
_NEW_TOKENS = 64


def _pictures(count: int) -> tuple[list[Any], list[Any]]:
    scenes = [sample_scene(seed) for seed in VALIDATION_SEEDS[-count:]]
    return scenes, [render(scene).picture for scene in scenes]


def compare_towers(folders: dict[str, Path], tower: str) -> dict[str, Any]:
    """Measure IR folders that differ in their tower; "chosen" names the better one.

    The fastest wins among those within half a point of the best accuracy (category and colour).
    """
    scenes, pictures = _pictures(_TOWER_PICTURES)
    prompts = [format_prompt(RECORD_QUESTION)] * len(scenes)
    result: dict[str, Any] = {"n": len(scenes)}
    speeds = _tower_milliseconds({name: path / tower for name, path in folders.items()}, pictures)
    for name, folder in folders.items():
        scores = score_records(Runner(folder).ask(pictures, prompts, _NEW_TOKENS).texts, scenes)
        result[name] = {
            "both": round(scores["both"], 4), "all": round(scores["all"], 4),
            "milliseconds": round(speeds[name], 2),
            "bytes": (folder / tower).with_suffix(".bin").stat().st_size,
        }  # fmt: skip
    best = max(result[name]["both"] for name in folders)
    good = [name for name in folders if result[name]["both"] >= best - _ALLOWED_LOSS]
    result["chosen"] = min(good, key=lambda name: result[name]["milliseconds"])
    return result


def _tower_milliseconds(towers: dict[str, Path], pictures: list[Any]) -> dict[str, float]:
    """Return the median time of one picture, the towers taking turns."""
    core = openvino.Core()
    options = {**arithmetic(), "PERFORMANCE_HINT": "LATENCY"}
    compiled = {name: core.compile_model(path, "CPU", options) for name, path in towers.items()}
    times: dict[str, list[float]] = {name: [] for name in towers}
    for picture in pictures[:100]:
        pixels = pixel_values(picture)
        for name, network in compiled.items():
            started = time.perf_counter()
            network([pixels])
            times[name].append((time.perf_counter() - started) * 1000)
    return {name: float(np.median(values[5:])) for name, values in times.items()}


def compare_engines(model_folder: Path, irs: dict[str, Path], count: int) -> dict[str, Any]:
    """Return the share of answers equal to those of transformers in float32, by IR."""
    scenes, pictures = _pictures(count)
    model = LlavaForConditionalGeneration.from_pretrained(model_folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    pixels = torch.from_numpy(np.concatenate([pixel_values(picture) for picture in pictures]))
    questions = (RECORD_QUESTION, "Describe the picture.")
    expected = {question: ask(model, tokenizer, pixels, question) for question in questions}
    result: dict[str, Any] = {"n": len(scenes) * len(questions)}
    for name, folder in irs.items():
        runner, equal = Runner(folder, exact=name == "float32"), 0
        for question in questions:
            said = runner.ask(pictures, [format_prompt(question)] * count, _NEW_TOKENS).texts
            equal += sum(a == b for a, b in zip(said, expected[question], strict=True))
        result[name] = round(equal / result["n"], 4)
    return result
