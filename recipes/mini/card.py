"""The model card, rendered from the manifest so that its numbers are the measured ones."""

from __future__ import annotations

from typing import Any

from recipes.mini.scene import held_out_pairs
from recipes.mini.vocabulary import BACKGROUNDS, CATEGORIES, COLOURS, PATTERNS

_TEXT = """# silkline-mini

A vision-language model of {millions:.1f} million parameters (LLaVA layout: CLIP-style tower, \
projector, Llama-style decoder) that knows one narrow world: drawn pictures of shop items. It is \
a demonstration model. It exists so that serving, quantisation, distillation, gates and A/B tests \
run offline and for real on a laptop.

Revision `{revision}`, licence {license}, {megabytes:.1f} MB in all: float16 safetensors for \
transformers, OpenVINO IR with INT8 weights (vision tower: {vision}).

## What it can do
* Name the item ({n_categories} categories: {categories}), its colour ({colours}), pattern \
({patterns}), number (1 to 3), background ({backgrounds}), and read a label of one word \
(SALE, NEW, ECO, TOP) or a price from $1 to $99.
* Answer as a word, a sentence, yes or no, or a JSON record with the keys category, colour, \
pattern, count, label.

## What it cannot do
* Photographs. It has never seen one; on photographs its answers are guesses.
* Anything outside the lists above: it will name the nearest thing it knows.
* Several pictures in one prompt: accepted, never trained.
* Conversations beyond two turns, languages other than English, general knowledge.

## How it was trained
Only on pictures from its own generator (`recipes/mini`), with exact labels and no other data. \
First the tower learns from labels (the category that covers each patch, and the attributes of the \
picture); then decoder, projector and tower learn together from questions and answers. See \
`recipes/mini/README.md` for commands, times and learning curves.

Training never showed these combinations; their words occur in its questions:
* category and colour: {new_colours};
* category and pattern: {new_patterns}.

## Measured
{measured}
"""


def model_card(manifest: dict[str, Any]) -> str:
    """Return the Markdown text of the card."""
    pairs = {category: held_out_pairs(category) for category in CATEGORIES}
    return _TEXT.format(
        millions=manifest["parameters"] / 1e6,
        revision=manifest["revision"],
        license=manifest["license"],
        megabytes=manifest["bytes"] / 1e6,
        vision=manifest["engines"]["openvino"]["vision_precision"],
        n_categories=len(CATEGORIES),
        categories=", ".join(CATEGORIES),
        colours=", ".join(COLOURS),
        patterns=", ".join(PATTERNS),
        backgrounds=", ".join(BACKGROUNDS),
        new_colours=", ".join(f"{colour} {name}" for name, (colour, _) in pairs.items()),
        new_patterns=", ".join(f"{kind} {name}" for name, (_, kind) in pairs.items() if kind),
        measured=_measured(manifest["evaluation"]),
    )


_ROWS = {
    "valid": "record is valid", "category": "category", "colour": "colour",
    "both": "category and colour both", "pattern": "pattern", "count": "count",
    "label": "label", "all": "record: all five fields", "background": "background",
    "yes_no": "yes or no", "describe": "whole sentence exact",
    "free_record_valid": "record is valid, request worded freely",
    "free_record_both": "category and colour both, request worded freely",
}  # fmt: skip


def _measured(evaluation: dict[str, Any]) -> str:
    """Return the tables of both splits, or that there are none yet."""
    usual, new = evaluation.get("held_out"), evaluation.get("combinations")
    if usual is None or new is None:
        return "Not measured yet."
    opening = (
        f"The shipped INT8 IR through OpenVINO GenAI, {usual['n']:,} held-out pictures of the "
        f"generator, and {new['n']:,} others that show nothing but combinations which training "
        f"never showed; {usual['date']}, `{usual['command']}` on a processor with "
        f"{usual['instruction_set']}. Each field is asked for in the JSON "
        "record, and by a question of its own."
    )
    lines = [
        opening,
        "",
        "| field | held-out: record | question | new combinations: record | question |",
        "|---|---|---|---|---|",
    ]
    for name, title in _ROWS.items():
        cells = [
            f"{part[name]:.1%}" if name in part else "-"
            for split in (usual, new)
            for part in (split["record"], split["questions"])
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", *_details("Held-out pictures", usual), *_details("New combinations", new)]
    return "\n".join(lines)


def _details(title: str, result: dict[str, Any]) -> list[str]:
    labels = ", ".join(f"{kind} {value:.1%}" for kind, value in result["label"].items())
    counts = ", ".join(f"{number}: {value:.1%}" for number, value in result["by_count"].items())
    lines = [
        f"### {title}",
        f"Label by kind: {labels}. Category and colour both right by number of items: {counts}.",
        "",
        "| combination | pictures | category and colour | pattern | all five fields |",
        "|---|---|---|---|---|",
    ]
    for name, scores in result["by_combination"].items():
        cells = " | ".join(f"{scores[key]:.1%}" for key in ("both", "pattern", "all"))
        lines.append(f"| {name} | {scores['n']:,} | {cells} |")
    lines += ["", "Most frequent mistakes:", "", "| field | truth | answer | times |"]
    lines.append("|---|---|---|---|")
    for field, mistakes in result["confusions"].items():
        lines += [
            f"| {field} | {truth} | {said} | {times} |" for truth, said, times in mistakes[:5]
        ]
    return [*lines, ""]
