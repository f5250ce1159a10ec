"""Reads a model's metadata from its files, for an engine whose server loads the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from silkline.core import ImagePart, Request
from silkline.engines.base import EngineOptions
from silkline.errors import ConfigError
from silkline.models.added_tokens import image_token, read_added_tokens
from silkline.models.bundle import MANIFEST, load_bundle
from silkline.models.chat_template import read_chat_template
from silkline.models.decoder import read_decoder
from silkline.models.documents import CONFIG, Document, read_document
from silkline.models.families import find_family
from silkline.models.image_tokens import TokenRule
from silkline.models.token_rules import Documents

_REVISION_BYTES = 6
_SHORT_DTYPES = frozenset({"bfloat16", "float16"})


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Metadata of the model that a server loads.

    Attributes:
        name: Its public name.
        revision: A short identifier that changes when its files change.
        precision: Precision of the weights; None means that the server reports it.
        context_length: Maximum tokens of prompt and answer together; None if unknown.
        kv_bytes_per_token: Bytes of 16-bit KV cache per token; None if unknown.
        rule: Computes the tokens of an image from its size; None if unknown.
        reserved: Special tokens, as text.
    """

    name: str
    revision: str
    precision: str | None
    context_length: int | None
    kv_bytes_per_token: int | None
    rule: TokenRule | None
    reserved: frozenset[str]

    def image_tokens(self, request: Request) -> int | None:
        """Counts a request's image tokens; an image shown twice counts twice. None if unknown.

        Raises:
            InvalidRequest: The model does not accept an image of this shape.
        """
        if self.rule is None:
            return None
        shown = (part for message in request.messages for part in message.parts)
        sizes = (request.images[part.index] for part in shown if isinstance(part, ImagePart))
        return sum(self.rule.count(image.width, image.height).total for image in sizes)


def read_transformers(folder: Path, options: EngineOptions) -> ServedModel:
    """Reads the JSON files of a folder in the transformers layout; reads no weights.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"The folder {folder} holds no {CONFIG}, so vLLM cannot load it. Give the folder of a "
            "model in the transformers layout."
        )
    config = read_document(folder / CONFIG, CONFIG)
    family = find_family(config)
    decoder = read_decoder(config, family.text_type if family else None)
    name, revision = name_and_revision(folder, options, (CONFIG, "*.safetensors"))
    return ServedModel(
        name=name,
        revision=revision,
        precision=_precision(config),
        context_length=decoder.context_length if decoder else None,
        kv_bytes_per_token=decoder.kv_bytes_per_token("float16") if decoder else None,
        rule=read_rule(folder),
        reserved=read_added_tokens(folder).reserved(
            image_token(config), read_chat_template(folder)
        ),
    )


def read_rule(folder: Path) -> TokenRule | None:
    """The rule for an image's tokens, from config.json and the processor's files beside it.

    None if the model's family is unknown.

    Raises:
        ConfigError: A file is damaged.
    """
    config = read_document(folder / CONFIG, CONFIG)
    family = find_family(config)
    if family is None:
        return None
    processor = read_document(folder / "processor_config.json", "processor_config.json")
    name = "preprocessor_config.json"
    image = read_document(folder / name, name) or processor.section("image_processor")
    return family.image_tokens(Documents(config, image, processor))


def name_and_revision(
    folder: Path, options: EngineOptions, patterns: Iterable[str]
) -> tuple[str, str]:
    """A model's public name and revision, from the options, else the bundle, else the folder.

    Args:
        folder: The model's folder.
        options: The engine's options.
        patterns: Files whose names, sizes and times are hashed into the revision, where neither
            the options nor a bundle have one.

    Raises:
        ConfigError: The bundle's manifest is damaged.
    """
    if (folder / MANIFEST).is_file():
        manifest = load_bundle(folder).manifest
        return options.name or manifest.name, options.revision or manifest.revision
    digest = hashlib.blake2b(digest_size=_REVISION_BYTES)
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return options.name or folder.name, options.revision or digest.hexdigest()


def _precision(config: Document) -> str | None:
    """The precision in config.json; None for one of more than 16 bits, which vLLM does not use."""
    method = config.section("quantization_config").text("quant_method")
    dtype = config.text("dtype") or config.text("torch_dtype")
    return method or (dtype if dtype in _SHORT_DTYPES else None)
