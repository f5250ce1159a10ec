"""What a model is, told without loading one of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from silkline.errors import ConfigError, InvalidRequest
from silkline.models.decoder import BYTES_PER_NUMBER, Decoder, read_decoder
from silkline.models.documents import CONFIG, Document, read_document
from silkline.models.families import find_family
from silkline.models.image_tokens import TokenRule
from silkline.models.preprocessing import Preprocessing, read_preprocessing
from silkline.models.printable import printable
from silkline.models.quantization import packing
from silkline.models.resolve import Kind, ModelLocation
from silkline.models.support import Support, Verdict, engine_support
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
        most: A bound over all sizes.
        pictures: Examples, or the sizes that were asked for.
    """

    rule: str
    maximum: int
    images: tuple[ImageTokensBySize, ...]


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
    place: ModelLocation, images: Sequence[tuple[int, int]] = IMAGES
) -> Inspection:
    """Reads a model's JSON files and the headers of its weights.

    Args:
        place: Where it lies.
        pictures: Widths and heights, at least 1, to tell the tokens for.

    Raises:
        ConfigError: A file is damaged, or says what no model can mean.
    """
    files, tokenizer, generation = _documents(place)
    config = files.config
    family = find_family(config)
    decoder = read_decoder(config, family.text_type if family else None)
    rule = family.image_tokens(files) if family else None
    weights = read_weights(place.folder)
    model_type = config.text("model_type")
    return Inspection(
        model=place.model,
        kind=place.kind,
        folder=str(place.folder),
        revision=place.revision,
        license=place.license,
        family=family.title if family else None,
        model_type=model_type,
        architectures=config.texts("architectures"),
        context_length=_context(place, decoder, tokenizer),
        max_new_tokens=generation.number("max_new_tokens"),
        decoder=decoder,
        kv_bytes_per_token=None if decoder is None else _kv_bytes(decoder),
        image_tokens=None if rule is None else _image_tokens(rule, images),
        preprocessing=read_preprocessing(files.image),
        weights=weights,
        quantization=packing(config),
        disk_bytes=size_on_disk(place.folder),
        engines=engine_support(place, files, weights),
        notes=tuple(_notes(config, place, weights, decoder, known=rule is not None)),
    )


def inspect_engines(place: ModelLocation) -> tuple[Support, ...]:
    """What each engine can do with a model, as `inspect_model` tells it.

    Raises:
        ConfigError: A file is damaged.
    """
    return engine_support(place, read_documents(_home(place)), read_weights(place.folder))


def check_engine(place: ModelLocation, engine: str) -> None:
    """Refuses a model that an engine cannot serve, in the words of `inspect_model`.

    Args:
        place: Where the model lies.
        engine: The engine's name; nothing is known of others than `inspect_model` tells of.

    Raises:
        ConfigError: The engine cannot serve it, or a file is damaged.
    """
    for support in inspect_engines(place):
        if support.engine == engine and support.verdict is Verdict.NO:
            raise ConfigError(f"The engine {engine} cannot serve {place.model}: {support.why}.")


def _documents(place: ModelLocation) -> tuple[Documents, Document, Document]:
    """What tells of pictures, the tokenizer's config and the generation config."""
    home = _home(place)

    def read(name: str) -> Document:
        return read_document(home / name, name)

    return read_documents(home), read("tokenizer_config.json"), read("generation_config.json")


def _home(place: ModelLocation) -> Path:
    """The folder with config.json: a bundle may have it beside an engine's weights only."""
    if place.bundle is None or (place.folder / CONFIG).is_file():
        return place.folder
    homes = (place.bundle.weights(engine) for engine in place.bundle.manifest.engines)
    return next((home for home in homes if (home / CONFIG).is_file()), place.folder)


def _context(place: ModelLocation, decoder: Decoder | None, tokenizer: Document) -> int | None:
    """A bundle's own word; else what the files tell."""
    if place.bundle is not None:
        return place.bundle.manifest.context_length
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
        rule.describe(), rule.maximum(), tuple(_image(rule, *image) for image in images)
    )


def _image(rule: TokenRule, width: int, height: int) -> ImageTokensBySize:
    try:
        count = rule.count(width, height)
    except InvalidRequest as error:
        return ImageTokensBySize(width, height, refused=error.message)
    return ImageTokensBySize(width, height, count.features, count.markers, count.total)


def _notes(
    config: Document,
    place: ModelLocation,
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
    if place.bundle is None and config.values.get("auto_map"):
        notes.append("The model asks for code of its own (auto_map); Silkline runs none of it.")
    if not (weights.files or weights.pointers):
        notes.append("No safetensors are here: parameters and dtypes are not told.")
    elif weights.missing:
        notes.append(f"{len(weights.missing)} of the shards that the index names are not here.")
    if weights.pointers:
        notes.append("Git LFS pointers are in place of weights: the weights were not downloaded.")
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
