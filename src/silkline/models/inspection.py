"""What a model is, told without loading one of its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from silkline.errors import ConfigError, InvalidRequest
from silkline.models.completeness import with_all_faults
from silkline.models.decoder import BYTES_PER_NUMBER, Decoder, read_decoder
from silkline.models.documents import CONFIG, Document, read_document
from silkline.models.families import find_family
from silkline.models.image_tokens import TokenRule
from silkline.models.preprocessing import Preprocessing, read_preprocessing
from silkline.models.printable import printable
from silkline.models.quantization import packing
from silkline.models.resolve import Kind, ModelLocation
from silkline.models.support import ModelFacts, Support
from silkline.models.token_rules import Documents, read_documents
from silkline.models.weights import Weights, read_weights, size_on_disk

IMAGES = ((224, 224), (640, 480), (1024, 768), (1920, 1080), (3000, 4000))
"""Widths and heights for which tokens are told where none are asked for."""

_MAX_LIMIT = 10**9
"""A tokenizer's limit above this stands for none: transformers writes 1e30 there."""


class ImageTokensBySize(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tokens of a picture of one size.

    Attributes:
        width: In pixels.
        height: In pixels.
        features: Places that the vision tower's output fills.
        markers: Special tokens around and between them.
        total: Both.
        refused: Why the model takes no such picture; then the rest is 0.
    """

    width: int
    height: int
    features: int = 0
    markers: int = 0
    total: int = 0
    refused: str | None = None


class ImageTokens(msgspec.Struct, frozen=True):
    """How many tokens pictures take.

    Attributes:
        rule: In words.
        maximum: A bound over all sizes.
        images: Examples, or the sizes that were asked for.
    """

    rule: str
    maximum: int = msgspec.field(name="most")
    images: tuple[ImageTokensBySize, ...] = msgspec.field(name="pictures")


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a model's files tell; what they do not tell is None.

    Attributes:
        model: What the user calls it.
        kind: What it was given as.
        folder: Where it lies.
        revision: Commit or digest.
        license: As the files say.
        family: The family's name; None where the table has none for it.
        model_type: As config.json says.
        architectures: The classes that config.json names.
        context_length: Most tokens of prompt and answer together.
        max_new_tokens: What the model's own generation config answers with at most.
        decoder: The language model's shape.
        kv_bytes_per_token: Bytes of the KV cache for a token, by dtype.
        image_tokens: Tokens of pictures.
        preprocessing: What happens to a picture.
        weights: What the headers of the weights tell.
        quantization: How the weights are packed; parameters then count packed numbers.
        disk_bytes: Bytes of all files.
        engines: What each engine can do with it.
        notes: What a reader should know of the above.
    """

    model: str
    kind: Kind
    folder: str
    revision: str | None
    license: str | None
    family: str | None
    model_type: str | None
    architectures: tuple[str, ...]
    context_length: int | None
    max_new_tokens: int | None
    decoder: Decoder | None
    kv_bytes_per_token: dict[str, int] | None
    image_tokens: ImageTokens | None
    preprocessing: Preprocessing | None
    weights: Weights
    quantization: str | None
    disk_bytes: int
    engines: tuple[Support, ...]
    notes: tuple[str, ...]


def inspect_model(
    location: ModelLocation,
    judge: Callable[[ModelFacts], tuple[Support, ...]],
    images: Sequence[tuple[int, int]] = IMAGES,
) -> Inspection:
    """Reads a model's JSON files and the headers of its weights.

    Args:
        location: Where it lies.
        judge: Says what each engine can do with the model.
        images: Widths and heights, at least 1, to tell the tokens for.

    Raises:
        ConfigError: A file is damaged, or says what no model can mean.
    """
    try:
        files, tokenizer, generation = _documents(location)
        weights = read_weights(location.folder)
    except ConfigError as error:
        raise with_all_faults(location.folder, error) from error
    config = files.config
    family = find_family(config)
    decoder = read_decoder(config, family.text_type if family else None)
    rule = family.image_tokens(files) if family else None
    model_type = config.text("model_type")
    return Inspection(
        model=location.model,
        kind=location.kind,
        folder=str(location.folder),
        revision=location.revision,
        license=location.license,
        family=family.title if family else None,
        model_type=model_type,
        architectures=config.texts("architectures"),
        context_length=_context(location, decoder, tokenizer),
        max_new_tokens=generation.number("max_new_tokens"),
        decoder=decoder,
        kv_bytes_per_token=None if decoder is None else _kv_bytes(decoder),
        image_tokens=None if rule is None else _image_tokens(rule, images),
        preprocessing=read_preprocessing(files.image),
        weights=weights,
        quantization=packing(config),
        disk_bytes=size_on_disk(location.folder),
        engines=judge(ModelFacts(location, files, weights)),
        notes=tuple(_notes(config, location, weights, decoder, known=rule is not None)),
    )


def read_facts(location: ModelLocation) -> ModelFacts:
    """What an engine judges a model by.

    Raises:
        ConfigError: A file is damaged.
    """
    try:
        return ModelFacts(location, read_documents(_home(location)), read_weights(location.folder))
    except ConfigError as error:
        raise with_all_faults(location.folder, error) from error


def _documents(location: ModelLocation) -> tuple[Documents, Document, Document]:
    """What tells of pictures, the tokenizer's config and the generation config."""
    home = _home(location)

    def read(name: str) -> Document:
        return read_document(home / name, name)

    return read_documents(home), read("tokenizer_config.json"), read("generation_config.json")


def _home(location: ModelLocation) -> Path:
    """The folder with config.json: a bundle may have it beside an engine's weights only."""
    if location.bundle is None or (location.folder / CONFIG).is_file():
        return location.folder
    homes = (location.bundle.weights(engine) for engine in location.bundle.manifest.engines)
    return next((home for home in homes if (home / CONFIG).is_file()), location.folder)


def _context(location: ModelLocation, decoder: Decoder | None, tokenizer: Document) -> int | None:
    """A bundle's own word; else what the files tell."""
    if location.bundle is not None:
        return location.bundle.manifest.context_length
    return context_of(decoder, tokenizer)


def context_of(decoder: Decoder | None, tokenizer: Document) -> int | None:
    """Most tokens of prompt and answer: what the decoder has places for and the tokenizer allows.

    Args:
        decoder: The language model's shape.
        tokenizer: tokenizer_config.json.

    Raises:
        ConfigError: The tokenizer's limit is no number.
    """
    limit = tokenizer.decimal("model_max_length") or _MAX_LIMIT
    places = decoder.context_length if decoder else None
    if places is None:
        return None if not 1 <= limit < _MAX_LIMIT else int(limit)
    return min(places, int(limit)) if 1 <= limit < _MAX_LIMIT else places


def _kv_bytes(decoder: Decoder) -> dict[str, int]:
    return {dtype: decoder.kv_bytes_per_token(dtype) for dtype in BYTES_PER_NUMBER}


def _image_tokens(rule: TokenRule, images: Sequence[tuple[int, int]]) -> ImageTokens:
    return ImageTokens(
        rule.describe(), rule.maximum().total, tuple(_image(rule, *image) for image in images)
    )


def _image(rule: TokenRule, width: int, height: int) -> ImageTokensBySize:
    try:
        count = rule.count(width, height)
    except InvalidRequest as error:
        return ImageTokensBySize(width, height, refused=error.message)
    return ImageTokensBySize(width, height, count.features, count.markers, count.total)


def _notes(
    config: Document,
    location: ModelLocation,
    weights: Weights,
    decoder: Decoder | None,
    *,
    known: bool,
) -> list[str]:
    notes = []
    if find_family(config) is None:
        notes.append("The family is not in Silkline's table; what depends on it is not told.")
    elif not known:
        notes.append("How many tokens a picture takes is not known for this configuration.")
    if location.bundle is None and config.values.get("auto_map"):
        notes.append("The model asks for code of its own (auto_map); Silkline runs none of it.")
    if not (weights.files or weights.pointers):
        notes.append("No safetensors are here: parameters and dtypes are not told.")
    elif weights.missing:
        notes.append(f"{len(weights.missing)} of the shards that the index names are not here.")
    if weights.pointers:
        notes.append(
            "Git LFS pointers are in location of weights: the weights were not downloaded."
        )
    if weights.refused:
        few = ", ".join(map(printable, weights.refused[:3]))
        notes.append(f"Pickled weights are not read: {few}.")
    if packing(config) is not None:
        notes.append("The weights are quantised: parameters count the numbers as packed.")
    if decoder is not None and decoder.sliding is not None:
        layers, window = decoder.sliding.layers, decoder.sliding.window
        notes.append(
            f"{layers} of {decoder.layers} layers keep {window} tokens at most; past these, a "
            "token takes less KV cache."
        )
    return notes
