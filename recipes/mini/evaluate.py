"""Measure the exported model on held-out pictures: ``python -m recipes.mini.evaluate``.

Every picture is asked for its record and for single attributes through OpenVINO GenAI. Pictures of
the test split come first, then as many that show combinations which training never showed.
"""

from __future__ import annotations

import argparse
import collections
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

from recipes.mini.bundle import DEFAULT_BUNDLE, record_evaluation
from recipes.mini.chat import format_prompt
from recipes.mini.genai import Runner
from recipes.mini.questions import draw_pair, label_answer
from recipes.mini.records import parse_record, score_records
from recipes.mini.render import render
from recipes.mini.scene import (
    COMBINATION_SEEDS,
    TEST_SEEDS,
    Scene,
    combination,
    generator,
    sample_scene,
)
from recipes.mini.wordings import (
    BACKGROUND_QUESTION,
    CATEGORY_QUESTION,
    COLOUR_QUESTION,
    COUNT_QUESTION,
    LABEL_QUESTION,
    PATTERN_QUESTION,
    RECORD_QUESTION,
)
from silkline.engines.processor import instruction_set

_NEW_TOKENS = 64
_EXTRA = ("background", "yes_no", "describe", "free_record_valid", "free_record_both")


SPLITS: Final = {"held_out": TEST_SEEDS, "combinations": COMBINATION_SEEDS}
"""What is measured, by the key under which the manifest keeps it."""


def evaluate(bundle: Path, count: int, seeds: range = TEST_SEEDS) -> dict[str, Any]:
    """Return all measurements on the first ``count`` pictures of ``seeds``."""
    runner = Runner(bundle / "openvino")
    scenes = [sample_scene(seed) for seed in seeds[:count]]
    pictures = [render(scene).picture for scene in scenes]
    prompt = format_prompt(RECORD_QUESTION)
    # The first requests pay for start-up; they are asked twice and not timed.
    runner.ask(pictures[:8], [prompt] * min(8, count), _NEW_TOKENS)
    answers = runner.ask(pictures, [prompt] * count, _NEW_TOKENS)
    result: dict[str, Any] = {
        "n": count,
        "date": date.today().isoformat(),
        "command": f"python -m recipes.mini.evaluate --n {count}",
        "instruction_set": instruction_set(),
        "record": _rounded(score_records(answers.texts, scenes)),
        "record_requests_per_second": round(count / answers.seconds, 2),
    }
    result["questions"] = _questions(runner, scenes, pictures)
    result["label"] = _labels(answers.texts, scenes)
    result["by_count"] = {
        number: scores["both"] for number, scores in _groups(answers.texts, scenes, _count).items()
    }
    result["by_combination"] = _groups(answers.texts, scenes, combination)
    result["confusions"] = _confusions(answers.texts, scenes)
    return result


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}


def _count(scene: Scene) -> str:
    return str(scene.count)


def _groups(
    texts: list[str], scenes: list[Scene], group_of: Callable[[Scene], str]
) -> dict[str, dict[str, float]]:
    """Return the scores of the records by group, with the number of pictures."""
    members: dict[str, list[tuple[str, Scene]]] = collections.defaultdict(list)
    for text, scene in zip(texts, scenes, strict=True):
        members[group_of(scene)].append((text, scene))
    return {
        name: {
            "n": len(kept),
            **_rounded(score_records([t for t, _ in kept], [s for _, s in kept])),
        }
        for name, kept in sorted(members.items())
    }


def _questions(runner: Runner, scenes: list[Scene], pictures: list[Any]) -> dict[str, float]:
    """Return the accuracy of single questions with canonical wording, and of free wordings."""
    wanted = {
        "category": (CATEGORY_QUESTION, [s.category for s in scenes]),
        "colour": (COLOUR_QUESTION, [s.colour for s in scenes]),
        "pattern": (PATTERN_QUESTION, [s.pattern for s in scenes]),
        "count": (COUNT_QUESTION, [str(s.count) for s in scenes]),
        "background": (BACKGROUND_QUESTION, [s.background for s in scenes]),
        "label": (LABEL_QUESTION, [label_answer(s) for s in scenes]),
    }
    result, right = {}, {}
    for name, (question, truths) in wanted.items():
        said = runner.ask(pictures, [format_prompt(question)] * len(scenes), 12).texts
        right[name] = [a == b for a, b in zip(said, truths, strict=True)]
        result[name] = sum(right[name]) / len(scenes)
    pairs = zip(right["category"], right["colour"], strict=True)
    result["both"] = sum(a and b for a, b in pairs) / len(scenes)
    for kind in ("yes_no", "describe"):
        drawn = [draw_pair(kind, scene, generator(scene.seed, 9)) for scene in scenes]
        said = runner.ask(pictures, [format_prompt(q) for q, _ in drawn], 40).texts
        same = [a == truth for a, (_, truth) in zip(said, drawn, strict=True)]
        result[kind] = sum(same) / len(scenes)
    drawn = [draw_pair("record", scene, generator(scene.seed, 9)) for scene in scenes]
    said = runner.ask(pictures, [format_prompt(q) for q, _ in drawn], _NEW_TOKENS).texts
    free = score_records(said, scenes)
    result |= {"free_record_valid": free["valid"], "free_record_both": free["both"]}
    return _rounded(result)


def _labels(texts: list[str], scenes: list[Scene]) -> dict[str, float]:
    """Return label accuracy for pictures without a label, with a word, with a price."""
    groups: dict[str, list[bool]] = collections.defaultdict(list)
    for text, scene in zip(texts, scenes, strict=True):
        kind = "none" if scene.label is None else "price" if scene.label[0] == "$" else "word"
        record = parse_record(text)
        groups[kind].append(record is not None and record["label"] == scene.label)
    return {kind: round(sum(hits) / len(hits), 4) for kind, hits in sorted(groups.items())}


def _confusions(texts: list[str], scenes: list[Scene]) -> dict[str, list[list[Any]]]:
    """Return the most frequent mistakes as [truth, answer, how often] by field."""
    result: dict[str, list[list[Any]]] = {}
    for field in ("category", "colour", "pattern"):
        mistakes: collections.Counter[tuple[str, str]] = collections.Counter()
        for text, scene in zip(texts, scenes, strict=True):
            record = parse_record(text) or {field: "(no record)"}
            truth = scene.record()[field]
            if record[field] != truth:
                mistakes[truth, str(record[field])] += 1
        result[field] = [[a, b, n] for (a, b), n in mistakes.most_common(10)]
    return result


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the measurements as text."""
    lines: list[str] = []
    for split, result in results.items():
        lines += [f"{split.replace('_', '-')}: {result['n']} pictures, {result['date']}", ""]
        lines += _table(result)
        lines.append("")
    return "\n".join(lines)


def _table(result: dict[str, Any]) -> list[str]:
    lines = ["field        record  question"]
    asked = result["questions"]
    for name in ("valid", "category", "colour", "both", "pattern", "count", "label", "all"):
        question = f"{asked[name]:8.1%}" if name in asked else "       -"
        lines.append(f"{name:12s} {result['record'][name]:6.1%}  {question}")
    lines += [f"{name:18s}-  {asked[name]:8.1%}" for name in _EXTRA]
    lines.append("labels: " + ", ".join(f"{k} {v:.1%}" for k, v in result["label"].items()))
    lines.append(
        "both, by count: " + ", ".join(f"{k}: {v:.1%}" for k, v in result["by_count"].items())
    )
    for name, scores in result["by_combination"].items():
        lines.append(
            f"{name} ({scores['n']}): both {scores['both']:.1%}, pattern {scores['pattern']:.1%}, "
            f"all {scores['all']:.1%}"
        )
    lines.append(f"records a second, 16 at once: {result['record_requests_per_second']}")
    for field, mistakes in result["confusions"].items():
        shown = ", ".join(f"{a} as {b} ({n})" for a, b, n in mistakes[:6])
        lines.append(f"{field} mistakes: {shown or 'none'}")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--n", type=int, default=2000, help="pictures of each split")
    parser.add_argument("--write", action="store_true", help="store into bundle.json and the card")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    results = {
        split: evaluate(arguments.bundle, arguments.n, seeds) for split, seeds in SPLITS.items()
    }
    if arguments.write:
        for split, result in results.items():
            record_evaluation(arguments.bundle, result, split)
    print(json.dumps(results, indent=1) if arguments.json else table(results))


if __name__ == "__main__":
    main()
