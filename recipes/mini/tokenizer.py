"""The byte-level BPE tokenizer and the chat template of silkline-mini."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from recipes.mini.chat import CHAT_TEMPLATE, CONTEXT_LENGTH, END, IMAGE, PAD, SPECIALS
from recipes.mini.questions import corpus
from recipes.mini.scene import TRAIN_SEEDS

VOCABULARY_SIZE: Final = 896

_GLUE: Final = (
    "You are a helpful assistant that looks at the image and answers the question of the user.",
    "Respond with a single JSON object that matches the schema; do not add other text.",
    "Which product is in the photo, what does it look like, and what should its title be?",
    "Please write the description for the online shop in a few words, without any price.",
    "If you cannot see it, say that you do not know. Use only the following fields and values:",
    '{"type":"object","properties":{"name":{"type":"string","enum":["one","two"]}},"required":[]}',
    '{"title": "", "material": null, "size": true, "tags": [1, 2.5, false], "confidence": 0.9}',
    "Is there a person, a car, a dog, a cat, a tree, a house or some food on the picture?",
)
"""Wordings of other people's prompts: they cost fewer tokens when the tokenizer knows them."""


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of at most ``size`` tokens on texts and printable ASCII."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # One digit, one token: prices are then read digit by digit.
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(token, special=True) for token in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=PAD, eos_token=END, padding_side="left",
        model_max_length=CONTEXT_LENGTH, clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
        # Else it gives token types, which `generate` refuses.
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer from ``folder``, training and saving it first if it is not there."""
    if not (folder / "tokenizer.json").exists():
        texts = [*corpus(TRAIN_SEEDS[:4000]), *_GLUE * 20]
        train_tokenizer(texts, VOCABULARY_SIZE).save_pretrained(folder)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded
