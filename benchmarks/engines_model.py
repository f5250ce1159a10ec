"""The model of the engine benchmark: a LLaVA layout of 230 million random parameters.

    python -m benchmarks.engines_model .cache/engines/model

A CLIP tower of 12 layers, 768 wide, for 224 px in patches of 16 (196 tokens a picture), and a Llama
decoder of 30 layers, 576 wide. Weights are random, so answers mean nothing; the work is that of a
trained model of this shape. No token ends an answer, so all engines answer at the same length.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

VOCABULARY = 32_000
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>", "<image>", "<|user|>", "<|assistant|>", "<|system|>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_TEXT = "Describe this product: what it is, its colours, its pattern and what is written on it. "


def tokenizer(vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Byte-level pieces; ids above them belong to no text and are filled up by name."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=list(SPECIALS), initial_alphabet=alphabet
    )
    pieces.train_from_iterator([_TEXT] * 4, trainer)
    missing = vocabulary - pieces.get_vocab_size()
    pieces.add_tokens([f"<word{place}>" for place in range(missing)])
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        chat_template=TEMPLATE,
        model_max_length=2048,
    )


class Size(NamedTuple):
    """Sizes of the vision tower and the decoder; side and patch are in pixels."""

    vision_hidden: int = 768
    vision_layers: int = 12
    hidden: int = 576
    intermediate: int = 1536
    layers: int = 30
    heads: int = 9
    kv_heads: int = 3
    side: int = 224
    patch: int = 16
    vocabulary: int = VOCABULARY


def write_model(folder: Path, size: Size = Size()) -> None:  # noqa: B008 - it cannot be changed
    """Saves the model, in bfloat16 and in the key names of the installed transformers.

    Args:
        folder: Made where it is not there.
        size: The model's sizes.
    """
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=size.vision_hidden,
        intermediate_size=4 * size.vision_hidden,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.vision_hidden // 64,
        image_size=size.side,
        patch_size=size.patch,
    )
    text = LlamaConfig(
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        vocab_size=size.vocabulary,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    tokens = (size.side // size.patch) ** 2
    config = LlavaConfig(vision, text, image_token_index=4, image_seq_length=tokens)
    model = LlavaForConditionalGeneration(config).to(torch.bfloat16)
    model.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=3)
    model.save_pretrained(folder)
    processor = LlavaProcessor(
        CLIPImageProcessor(
            size={"shortest_edge": size.side},
            crop_size={"height": size.side, "width": size.side},
        ),
        tokenizer(size.vocabulary),
        patch_size=size.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write_model(parser.parse_args().folder)


if __name__ == "__main__":
    main()
