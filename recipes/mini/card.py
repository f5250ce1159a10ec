"""The model card, rendered from the manifest so that its numbers are the measured ones."""

from __future__ import annotations

from typing import Any

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

## Measured
{measured}
"""


def model_card(manifest: dict[str, Any]) -> str:
    """Return the Markdown text of the card."""
    held_out = manifest["evaluation"].get("held_out")
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
        measured=_measured(held_out) if held_out else "Not measured yet.",
    )


def _measured(result: dict[str, Any]) -> str:
    asked, record = result["questions"], result["record"]
    opening = (
        f"The shipped INT8 IR through OpenVINO GenAI, {result['n']} held-out pictures of the "
        f"generator, {result['date']}, `{result['command']}`."
    )
    lines = [opening, "", "| field | in the JSON record | as a single question |", "|---|---|---|"]
    names = {
        "valid": "record is valid", "category": "category", "colour": "colour",
        "both": "category and colour both", "pattern": "pattern", "count": "count",
        "label": "label", "all": "all five fields", "background": "background",
        "yes_no": "yes or no", "describe": "whole sentence exact",
        "free_record_valid": "record is valid, request worded freely",
        "free_record_both": "category and colour both, request worded freely",
    }  # fmt: skip
    for name, title in names.items():
        left = f"{record[name]:.1%}" if name in record else "-"
        right = f"{asked[name]:.1%}" if name in asked else "-"
        lines.append(f"| {title} | {left} | {right} |")
    groups = ", ".join(f"{kind} {value:.1%}" for kind, value in result["label"].items())
    counts = ", ".join(f"{number}: {value:.1%}" for number, value in result["by_count"].items())
    summary = (
        f"Label by kind: {groups}. Category and colour both right by number of items: {counts}."
    )
    lines += ["", summary, "", "Most frequent mistakes:", ""]
    lines += ["| field | truth | answer | times |", "|---|---|---|---|"]
    for field, mistakes in result["confusions"].items():
        lines += [
            f"| {field} | {truth} | {said} | {times} |" for truth, said, times in mistakes[:8]
        ]
    return "\n".join(lines)
