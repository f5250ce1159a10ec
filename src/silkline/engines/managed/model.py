"""What a model's files tell of it, for an engine that does not load them itself."""

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
    """A model that a server loads.

    Attributes:
        name: Its public name.
        revision: A short word that changes with its files.
        precision: Of the weights; None where the server knows better.
        context_length: Most tokens of prompt and answer that it was made for, where known.
        kv_bytes_per_token: Of the KV cache in 16 bits, where known.
        rule: From a picture's size to its tokens, where known.
        reserved: Special tokens as text.
    """

    name: str
    revision: str
    precision: str | None
    context_length: int | None
    kv_bytes_per_token: int | None
    rule: TokenRule | None
    reserved: frozenset[str]

    def image_tokens(self, request: Request) -> int | None:
        """Prompt tokens of a request's pictures, each as often as it is shown; None where unknown.

        Raises:
            InvalidRequest: The model takes no picture of such a shape.
        """
        if self.rule is None:
            return None
        shown = (part for message in request.messages for part in message.parts)
        sizes = (request.images[part.index] for part in shown if isinstance(part, ImagePart))
        return sum(self.rule.count(image.width, image.height).total for image in sizes)


def read_transformers(folder: Path, options: EngineOptions) -> ServedModel:
    """Reads a folder as transformers saves it: its JSON files, no weights.

    Raises:
        ConfigError: A file is not there, or damaged.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"The folder {folder} holds no {CONFIG}, so it is no model that vLLM has."
        )
    config = read_document(folder / CONFIG, CONFIG)
    family = find_family(config)
    decoder = read_decoder(config, family.text_type if family else None)
    name, revision = called(folder, options, (CONFIG, "*.safetensors"))
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
    """How many tokens a picture takes, from config.json and what lies beside it.

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


def called(folder: Path, options: EngineOptions, patterns: Iterable[str]) -> tuple[str, str]:
    """A model's public name and revision: the options' word, else a bundle's, else the folder's.

    Args:
        folder: Where it lies.
        options: What the engine is told.
        patterns: The files that count where nobody gave a revision: by name, size and time.

    Raises:
        ConfigError: The bundle's manifest is damaged.
    """
    if (folder / MANIFEST).is_file():
        manifest = load_bundle(folder).manifest
        return options.name or manifest.name, options.revision or manifest.revision
    digest = hashlib.blake2b(digest_size=_REVISION_BYTES)
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        state = path.stat()
        digest.update(f"{path.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return options.name or folder.name, options.revision or digest.hexdigest()


def _precision(config: Document) -> str | None:
    """As config.json says; vLLM computes in it where it is one of 16 bits or less."""
    method = config.section("quantization_config").text("quant_method")
    dtype = config.text("dtype") or config.text("torch_dtype")
    return method or (dtype if dtype in _SHORT_DTYPES else None)
