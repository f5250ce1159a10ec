"""The many ways in which people ask for the same thing."""

from __future__ import annotations

from typing import Final

import numpy as np

RECORD_QUESTION: Final = "Give the record as JSON."
CATEGORY_QUESTION: Final = "What is the item?"
COLOUR_QUESTION: Final = "What colour is it?"
PATTERN_QUESTION: Final = "What is the pattern?"
COUNT_QUESTION: Final = "How many items are there?"
BACKGROUND_QUESTION: Final = "What is the background?"
LABEL_QUESTION: Final = "What does the label say?"
"""The canonical wordings, used by the evaluation."""

_RECORD = (
    RECORD_QUESTION, "Answer in JSON.", "Return a JSON record of the item.",
    "Describe the item as JSON with category, colour, pattern, count and label.",
    "Fill in the product record.",
    "Return JSON with the keys category, colour, pattern, count, label.",
    "Extract the attributes as JSON.", "Output the structured record.",
    "Return only JSON.", "Give me the product data as a JSON object.",
)  # fmt: skip
_DESCRIBE = (
    "Describe the picture.", "Describe this image.", "What is in this picture?",
    "What do you see?", "Write one sentence about the picture.", "What is in this image?",
    "Describe the product.", "Give a short description.", "What does the picture show?",
    "Write a product description.", "Describe the item.", "Describe this picture in one sentence.",
)  # fmt: skip
_CATEGORY = (
    CATEGORY_QUESTION, "What kind of item is this?", "Which category is it?", "Name the item.",
    "What is the category?", "What product is shown?", "What object is this?",
    "Which item is in the picture?", "Category?", "What type of product is it?",
)  # fmt: skip
_COLOUR = (
    COLOUR_QUESTION, "What is the colour?", "What color is it?", "Which colour does it have?",
    "Name the main colour.", "What colour is the item?", "Colour?", "What color is the {item}?",
    "What colour is the {item}?", "Which color is the {item}?",
)  # fmt: skip
_PATTERN = (
    PATTERN_QUESTION, "Which pattern does it have?", "What pattern is on the {item}?",
    "Is it plain, striped, dotted or checked?", "Pattern?", "Name the pattern.",
    "How is the {item} patterned?",
)  # fmt: skip
_COUNT = (
    COUNT_QUESTION, "How many {items} are there?", "How many are there?", "Count the items.",
    "How many {items} do you see?", "What is the number of items?",
)  # fmt: skip
_BACKGROUND = (
    BACKGROUND_QUESTION, "What is behind the item?", "Describe the background.",
    "Which kind of background is it?", "What background does the picture have?",
)  # fmt: skip
_LABEL = (
    LABEL_QUESTION, "Read the label.", "What is written on the label?", "What text is visible?",
    "What does the tag say?", "Which text is on the tag?", "Read the text.",
)  # fmt: skip

_BASE: Final = {
    "record": _RECORD, "describe": _DESCRIBE, "category": _CATEGORY, "colour": _COLOUR,
    "pattern": _PATTERN, "count": _COUNT, "background": _BACKGROUND, "label": _LABEL,
}  # fmt: skip

_VERBS = (
    "Return", "Give", "Extract", "List", "Output", "Provide", "Write", "Identify", "Produce",
    "Report", "Show", "Generate", "Fill in", "I need", "Tell me", "Create",
)  # fmt: skip
_FIELDS = (
    "the record", "the attributes", "all attributes", "the product attributes", "the product data",
    "category, colour, pattern, count and label", "the category, colour, pattern, count and label",
    "the item's category, color, pattern, count and label text", "all fields", "the details",
    "the structured data", "the catalogue entry", "the product record", "its properties",
    "category, colour, pattern, count, label", "item type, colour and pattern",
)  # fmt: skip
_PLACES = (
    "", " of the item", " of the product", " from the image", " from the picture", " in this image",
    " in the photo", " for this product", " shown here", " of this shop item", " for the shop",
)  # fmt: skip
_FORMATS = (
    " as JSON", " as a JSON object", " in JSON", " as valid JSON", " in JSON format",
    " as a single JSON object", " as one line of JSON", " as JSON that matches the schema",
    " as a JSON record", " as structured JSON",
)  # fmt: skip
_JSON_ENDINGS = (
    "", "", " Reply with JSON only.", " Reply with JSON only, no other text.", " No explanation.",
    " Do not add other text.", " Return only the JSON object.", " Use null if there is no label.",
    ' Use the keys "category", "colour", "pattern", "count" and "label".', " Answer only in JSON.",
    ' Schema: {"category":"string","colour":"string","pattern":"string","count":1,"label":null}',
)  # fmt: skip
_TEXT_VERBS = (
    "Write", "Give", "Provide", "Generate", "Create", "Tell me", "Suggest", "I need", "Compose",
)  # fmt: skip
_TEXTS = (
    "a description", "a short description", "a caption", "a title", "a product description",
    "a one-sentence description", "a brief summary", "an alt text", "a short text", "one sentence",
    "a product title", "a short product text", "a detailed description",
)  # fmt: skip
_SUBJECTS = (
    "", " of the image", " for this picture", " of this product", " for the item", " of the photo",
    " for this product for a web shop", " about what you see", " for the online shop",
)  # fmt: skip
_OPENINGS = (
    "Look at the picture.", "Look at the image.", "Question:", "You are a product expert.",
    "Based on the image:", "Here is a product photo.", "Answer the question about the picture.",
    "Please answer:", "Hi!", "Hello,", "Task:", "You see a shop item.",
)  # fmt: skip
_ENDINGS = (
    "Answer with one word.", "Answer in one word.", "Answer briefly.", "Reply with one word only.",
    "Keep it short.", "Only the answer, please.", "Answer with a single word or phrase.",
)  # fmt: skip
YES_NO_ENDINGS: Final = ("Answer yes or no.", "Yes or no?", "Reply with yes or no only.")


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def wording(kind: str, rng: np.random.Generator) -> str:
    """Return a question of one of the open kinds; may contain ``{item}`` and ``{items}``."""
    composed = rng.random() < 0.5
    if kind == "record" and composed:
        return compose_record(rng)
    if kind == "describe" and composed:
        return f"{_pick(_TEXT_VERBS, rng)} {_pick(_TEXTS, rng)}{_pick(_SUBJECTS, rng)}."
    return dress(_pick(_BASE[kind], rng), kind, rng)


def compose_record(rng: np.random.Generator) -> str:
    """Return a request for the record put together from parts; braces are doubled."""
    opening = f"{_pick(_OPENINGS, rng)} " if rng.random() < 0.2 else ""
    request = "".join(_pick(part, rng) for part in (_FIELDS, _PLACES, _FORMATS))
    text = f"{opening}{_pick(_VERBS, rng)} {request}.{_pick(_JSON_ENDINGS, rng)}"
    return text.replace("{", "{{").replace("}", "}}")


def dress(question: str, kind: str, rng: np.random.Generator) -> str:
    """Change politeness, case, punctuation and surroundings at times."""
    draw = rng.random()
    if draw < 0.06:
        return f"Please {question[0].lower()}{question[1:]}" if question[-1] == "." else question
    if draw < 0.12:
        return question[:-1]
    if draw < 0.18:
        return question.lower()
    if draw < 0.26:
        return f"{_pick(_OPENINGS, rng)} {question}"
    if draw < 0.36 and kind not in {"record", "describe"}:
        ending = YES_NO_ENDINGS if kind == "yes_no" else _ENDINGS
        return f"{question} {_pick(ending, rng)}"
    return question
