"""The architecture: a LLaVA layout of about four million parameters, and its companions."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from recipes.mini.chat import CONTEXT_LENGTH, END_ID, IMAGE, IMAGE_ID, PAD_ID
from recipes.mini.vocabulary import PATCH_SIZE, PICTURE_SIZE

WIDTH = 192
TOWER_LAYERS = 6
DECODER_LAYERS = 3
HEADS = 3


def build_config(vocabulary_size: int) -> LlavaConfig:
    """Return the model configuration; 96 px pictures become 64 image tokens."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=HEADS, image_size=PICTURE_SIZE, patch_size=PATCH_SIZE,
        projection_dim=WIDTH,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=vocabulary_size, hidden_size=WIDTH, intermediate_size=448,
        num_hidden_layers=DECODER_LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        head_dim=64, max_position_embeddings=CONTEXT_LENGTH, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=END_ID, pad_token_id=PAD_ID,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE_ID,
        vision_feature_layer=-1, vision_feature_select_strategy="default", image_seq_length=64,
        tie_word_embeddings=True, pad_token_id=PAD_ID, eos_token_id=END_ID, bos_token_id=None,
    )  # fmt: skip


def build_model(vocabulary_size: int) -> LlavaForConditionalGeneration:
    """Return a freshly initialised model in float32."""
    model = LlavaForConditionalGeneration(build_config(vocabulary_size))
    model.generation_config = GenerationConfig(
        eos_token_id=END_ID, pad_token_id=PAD_ID, do_sample=False, max_new_tokens=128
    )
    return model


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor: shortest edge to 96 px, centre crop, scale to [-1, 1]."""
    half = [0.5, 0.5, 0.5]
    pictures = CLIPImageProcessor(
        size={"shortest_edge": PICTURE_SIZE},
        crop_size={"height": PICTURE_SIZE, "width": PICTURE_SIZE},
        image_mean=half, image_std=half,
    )  # fmt: skip
    return LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        image_token=IMAGE, chat_template=tokenizer.chat_template,
    )  # fmt: skip


def save_bundle(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write weights, configuration, tokenizer and processor to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    build_processor(tokenizer).save_pretrained(folder)
