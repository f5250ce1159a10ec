"""The architecture: a LLaVA layout of about four million parameters, and its companions."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Layout:
    """Sizes of a model of the LLaVA layout.

    Attributes:
        width: Of tower and decoder.
        heads: Attention heads of each layer of both.
        tower_layers: Layers of the tower.
        decoder_layers: Layers of the decoder.
        intermediate: Neurons of the decoder's layers.
        picture_size: Edge of a picture, in pixels.
        patch_size: Edge of a patch, in pixels.
    """

    width: int = WIDTH
    heads: int = 3
    tower_layers: int = 6
    decoder_layers: int = 3
    intermediate: int = 448
    picture_size: int = PICTURE_SIZE
    patch_size: int = PATCH_SIZE

    @property
    def image_tokens(self) -> int:
        """Tokens of one picture."""
        return (self.picture_size // self.patch_size) ** 2


MINI = Layout()
"""The bundled model: 96 px pictures become 64 image tokens."""


def build_config(vocabulary_size: int, layout: Layout = MINI) -> LlavaConfig:
    """Return the model configuration."""
    width, heads = layout.width, layout.heads
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layout.tower_layers,
        num_attention_heads=heads, image_size=layout.picture_size, patch_size=layout.patch_size,
        projection_dim=width,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=vocabulary_size, hidden_size=width, intermediate_size=layout.intermediate,
        num_hidden_layers=layout.decoder_layers, num_attention_heads=heads,
        num_key_value_heads=heads, head_dim=width // heads,
        max_position_embeddings=CONTEXT_LENGTH, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=END_ID, pad_token_id=PAD_ID,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE_ID,
        vision_feature_layer=-1, vision_feature_select_strategy="default",
        image_seq_length=layout.image_tokens,
        tie_word_embeddings=True, pad_token_id=PAD_ID, eos_token_id=END_ID, bos_token_id=None,
    )  # fmt: skip


def build_model(vocabulary_size: int, layout: Layout = MINI) -> LlavaForConditionalGeneration:
    """Return a freshly initialised model in float32."""
    model = LlavaForConditionalGeneration(build_config(vocabulary_size, layout))
    model.generation_config = GenerationConfig(
        eos_token_id=END_ID, pad_token_id=PAD_ID, do_sample=False, max_new_tokens=128
    )
    return model


def build_processor(tokenizer: PreTrainedTokenizerFast, layout: Layout = MINI) -> LlavaProcessor:
    """Return the processor: shortest edge to the layout's, centre crop, scale to [-1, 1]."""
    half, edge = [0.5, 0.5, 0.5], layout.picture_size
    pictures = CLIPImageProcessor(
        size={"shortest_edge": edge},
        crop_size={"height": edge, "width": edge},
        image_mean=half, image_std=half,
    )  # fmt: skip
    return LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=layout.patch_size,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        image_token=IMAGE, chat_template=tokenizer.chat_template,
    )  # fmt: skip


def save_bundle(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path,
    layout: Layout = MINI,
) -> None:  # fmt: skip
    """Write weights, configuration, tokenizer and processor to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    build_processor(tokenizer, layout).save_pretrained(folder)
