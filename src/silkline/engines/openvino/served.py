"""Reads the metadata of the served model from its files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from silkline.core import EngineInfo, PixelBudget
from silkline.engines.base import EngineOptions
from silkline.engines.kv_budget import USUAL_CONTEXT, kv_budget, spare_memory
from silkline.engines.openvino.generation import sampling_features
from silkline.engines.openvino.support import pads_to_square
from silkline.engines.processor import instruction_set
from silkline.errors import ConfigError
from silkline.models.added_tokens import TOKENIZER_CONFIG, image_token
from silkline.models.bundle import MANIFEST, Bundle, load_bundle
from silkline.models.decoder import Decoder, read_decoder
from silkline.models.documents import Document, read_document
from silkline.models.families import find_family
from silkline.models.generation_config import read_sampling_defaults
from silkline.models.image_tokens import Fixed, SmartResize, Tiling, TokenRule
from silkline.models.inspection import context_of
from silkline.models.preprocessing import Preprocessing, read_preprocessing
from silkline.models.pruning import Pruning, pruned
from silkline.models.token_rules import Documents
from silkline.models.weights import LANGUAGE_MODEL

NAME = "openvino"

BLOCK_TOKENS = 32
"""Tokens per block of the CPU plug-in's paged KV cache."""

_DEFAULT_CONTEXT = 2048
"""Context length if no file states one."""

_MIN_BLOCKS = 8

_MAX_IMAGE_TOKENS = 4096
"""Maximum tokens of an image, for models whose tokens grow with the pixels: without it, prefill of
a modern photo would take minutes."""

KvPrecision = Literal["u8", "f16", "f32"]
"""Precision of the KV cache, by OpenVINO's names."""

_KV_BYTES: dict[KvPrecision, int] = {"u8": 1, "f16": 2, "f32": 4}
_KV_SCALE_BYTES = 8
"""Bytes of scale and zero point, two 32-bit floats, for each key and each value in 8 bits."""


@dataclass(frozen=True, slots=True)
class Served:
    """The metadata of a model.

    Attributes:
        folder: The bundle, or the folder with the IR.
        weights: The folder with the IR.
        info: The engine's info.
        model_type: `model_type` in config.json.
        config: The content of config.json.
        tokenizer: The content of tokenizer_config.json.
        rule: Computes the features of an image; None if the family is unknown.
        pruning: How the vision tower reduces them to fewer tokens; None if all stay.
        preprocessing: The preprocessing of images; None if no file states it.
        kv_precision: Precision of the KV cache; None means OpenVINO's default, u8.
        kv_blocks: Number of blocks of the KV cache.
        max_tokens: Maximum tokens of prompt and answer together.
    """

    folder: Path
    weights: Path
    info: EngineInfo
    model_type: str
    config: Document
    tokenizer: Document
    rule: TokenRule | None
    pruning: Pruning | None
    preprocessing: Preprocessing | None
    kv_precision: KvPrecision | None
    kv_blocks: int
    max_tokens: int

    @property
    def image_token(self) -> int | None:
        """The id of the token that images replace; None if config.json has none."""
        return image_token(self.config)

    @property
    def weights_bytes(self) -> int:
        """Size of the weights of all models in the IR."""
        return _size(self.weights)

    def image_tokens(self, width: int, height: int) -> int:
        """The tokens of an image of this size, in pixels.

        Raises:
            InvalidRequest: The model does not accept an image of this shape.
        """
        if self.rule is None:
            return self.info.image_tokens
        return pruned(self.rule.count(width, height), self.pruning).total


def read_served(options: EngineOptions, kv_precision: KvPrecision | None = None) -> Served:
    """Reads a bundle, or a folder with OpenVINO IR in the layout of optimum-intel's exporter.

    Args:
        options: The engine's options.
        kv_precision: Precision of the KV cache; None means the bundle's.

    Raises:
        ConfigError: No model is given, the folder is neither of these, or a file is damaged.
    """
    if options.model is None:
        raise ConfigError("The OpenVINO engine needs a model: give the folder of a bundle.")
    bundle = None if _is_export(options.model) else load_bundle(options.model)
    weights = options.model if bundle is None else bundle.weights(NAME)
    config, tokenizer = _read(weights, "config.json"), _tokenizer(weights, options.model)
    processor = _read(weights, "processor_config.json")
    image = _read(weights, "preprocessor_config.json") or processor.section("image_processor")
    _check_padding(config, image)
    family = find_family(config)
    rule = family.image_tokens(Documents(config, image, processor)) if family else None
    decoder = read_decoder(config, family.text_type if family else None)
    context = context_of(decoder, tokenizer) or _DEFAULT_CONTEXT
    info = replace(
        _info(options, bundle, context, rule),
        features=sampling_features(weights, options.model),
        sampling_defaults=read_sampling_defaults(options.model, weights),
    )
    if kv_precision is None and bundle is not None:
        kv_precision = bundle.manifest.engines[NAME].kv_precision
    token_bytes = _kv_token_bytes(decoder, kv_precision or "u8")
    budget = kv_budget(
        options.kv_cache_bytes,
        requests=options.max_batch,
        tokens=min(info.context_length, USUAL_CONTEXT),
        token_bytes=token_bytes,
        spare=spare_memory(_size(weights), options.kv_cache_limit),
    )
    blocks = max(_MIN_BLOCKS, budget // (BLOCK_TOKENS * token_bytes))
    maximum = min(info.context_length, blocks * BLOCK_TOKENS)
    return Served(
        folder=options.model,
        weights=weights,
        info=_fitting(info, rule, maximum),
        model_type=config.text("model_type") or "",
        config=config,
        tokenizer=tokenizer,
        rule=rule,
        pruning=None if bundle is None else bundle.manifest.engines[NAME].pruning,
        preprocessing=read_preprocessing(image),
        kv_precision=kv_precision,
        kv_blocks=blocks,
        max_tokens=maximum,
    )


def _kv_token_bytes(decoder: Decoder | None, precision: KvPrecision) -> int:
    """Bytes per token of a KV cache of this precision.

    Raises:
        ConfigError: config.json does not state the decoder's shape.
    """
    if decoder is None:
        raise ConfigError(
            "The model's config.json does not state the shape of its language model (layers, "
            "heads, width). Download the model's files again."
        )
    scales = _KV_SCALE_BYTES if precision == "u8" else 0
    vector = decoder.head_dim * _KV_BYTES[precision] + scales
    return 2 * decoder.layers * decoder.kv_heads * vector


def _size(weights: Path) -> int:
    return sum(file.stat().st_size for file in weights.glob("*.bin"))


def _check_padding(config: Document, image: Document) -> None:
    """Refuses models that pad images to a square, which neither this engine nor GenAI does."""
    if pads_to_square(config, image):
        raise ConfigError(
            "This model pads its images to a square (do_pad in preprocessor_config.json), which "
            "the engine openvino does not do. Serve it with --engine torch."
        )


def _is_export(folder: Path) -> bool:
    return not (folder / MANIFEST).is_file() and (folder / LANGUAGE_MODEL).is_file()


def _read(folder: Path, name: str) -> Document:
    return read_document(folder / name, name)


def _tokenizer(*folders: Path) -> Document:
    found = (_read(folder, TOKENIZER_CONFIG) for folder in folders)
    return next((document for document in found if document), Document(TOKENIZER_CONFIG, {}))


def _info(
    options: EngineOptions, bundle: Bundle | None, context: int, rule: TokenRule | None
) -> EngineInfo:
    if bundle is not None:
        manifest = bundle.manifest
        size = manifest.image_size
        return EngineInfo(
            engine=NAME,
            model=options.name or manifest.name,
            revision=manifest.revision,
            precision=manifest.engines[NAME].precision,
            context_length=manifest.context_length,
            image_tokens=manifest.image_tokens,
            pixel_budget=PixelBudget(shortest_edge=size),
            instruction_set=instruction_set(),
        )
    if rule is None:
        raise ConfigError(
            "The number of tokens of an image is not known for this model, so the tokens of its "
            "requests cannot be counted. Serve it with --engine torch or --engine remote."
        )
    return EngineInfo(
        engine=NAME,
        model=options.name or "model",
        revision=options.revision or "unknown",
        precision="as exported",
        context_length=context,
        image_tokens=rule.maximum().total,
        instruction_set=instruction_set(),
    )


def _fitting(info: EngineInfo, rule: TokenRule | None, max_tokens: int) -> EngineInfo:
    """The info, with a pixel budget from the model's image size and the KV cache.

    If tokens grow with the pixels, an image gets at most half of the context, so that there is room
    for an answer.
    """
    if isinstance(rule, SmartResize):
        area = rule.cell**2
        pixels = max(area, min(rule.max_pixels, min(max_tokens // 2, _MAX_IMAGE_TOKENS) * area))
        return _with_budget(info, min(info.image_tokens, pixels // area + 2), pixels, area)
    if isinstance(rule, Tiling):
        return _with_budget(info, info.image_tokens, rule.max_tiles * rule.tile**2, None)
    if rule is None or isinstance(rule, Fixed):
        return info
    return _with_budget(info, info.image_tokens, PixelBudget().max_pixels, None)


def _with_budget(
    info: EngineInfo, tokens: int, pixels: int, pixels_per_token: int | None
) -> EngineInfo:
    budget = PixelBudget(max_pixels=pixels)
    return replace(
        info, image_tokens=tokens, pixel_budget=budget, pixels_per_token=pixels_per_token
    )
