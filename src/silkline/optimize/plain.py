"""Makes a bundle of a model's own folder, so that engines' safetensors can be optimised."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.added_tokens import TOKENIZER_CONFIG
from silkline.models.bundle import MANIFEST, SCHEMA, Bundle, EngineWeights, Manifest, load_bundle
from silkline.models.decoder import read_decoder
from silkline.models.documents import read_document
from silkline.models.families import find_family
from silkline.models.inspection import context_of
from silkline.models.label import label_of
from silkline.models.license import read_license
from silkline.models.preprocessing import read_preprocessing, shorter_edge
from silkline.models.resolve import ModelLocation
from silkline.models.source import file_digest
from silkline.models.token_rules import read_documents
from silkline.models.weights import PICKLED, read_weights

_PRECISIONS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_REVISION_LENGTH = 16


def plain_bundle(location: ModelLocation, engine: str, work: Path) -> Bundle:
    """A bundle of links to the files of a model that is none, for an engine that loads them.

    Args:
        location: The model.
        engine: The engine, such as torch.
        work: Folder for the links.

    Raises:
        ConfigError: The files are damaged, quantised, or do not state the model's context length.
        EnvironmentFault: The links cannot be made.
    """
    source = location.folder
    files = read_documents(source)
    family = find_family(files.config)
    decoder = read_decoder(files.config, None if family is None else family.text_type)
    context = context_of(decoder, read_document(source / TOKENIZER_CONFIG, TOKENIZER_CONFIG))
    rule = None if family is None else family.image_tokens(files)
    dtypes = read_weights(source).dtypes
    precision = _PRECISIONS.get(next(iter(dtypes), ""))
    if rule is None or context is None or precision is None:
        raise ConfigError(
            f"{location.model} cannot be optimised for the engine {engine}: its files do not state "
            "its context length, the tokens of an image, or plain weights. Serve it as it is."
        )
    target = work / label_of(location)
    linked = _linked(source, target)
    manifest = Manifest(
        schema=SCHEMA,
        name=label_of(location),
        family=files.config.text("model_type") or "",
        revision=hashlib.sha256(repr(sorted(linked.items())).encode()).hexdigest()[
            :_REVISION_LENGTH
        ],
        license=read_license(source) or "not stated",
        context_length=context,
        image_tokens=rule.maximum().total,
        image_size=shorter_edge(read_preprocessing(files.image)),
        engines={engine: EngineWeights(".", precision)},
        files=linked,
    )
    (target / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return load_bundle(target)


def _linked(source: Path, target: Path) -> dict[str, str]:
    """Links the files in a folder, but pickled and hidden ones; returns their digests."""
    digests = {}
    try:
        target.mkdir(parents=True)
        for file in sorted(source.iterdir()):
            if not file.is_file() or file.name.startswith(".") or file.suffix in PICKLED:
                continue
            (target / file.name).symlink_to(file.resolve())
            digests[file.name] = file_digest(file)
    except OSError as error:
        raise EnvironmentFault(
            f"{target} cannot be written: {error.strerror}. Free space, or set TMPDIR."
        ) from error
    return digests
