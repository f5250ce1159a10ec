"""Checks whether a folder holds a complete model in the layout of transformers.

`inspect`, `doctor` and the start of every engine use these checks, so they agree. What is missing
is returned as text with file names, sizes and what to do; a damaged file raises an error that names
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec

from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.adapter import adapter_refusal
from silkline.models.added_tokens import TOKENIZER, TOKENIZER_CONFIG, read_added_tokens
from silkline.models.amounts import bytes_text
from silkline.models.chat_template import read_chat_template
from silkline.models.documents import CONFIG, Document, read_document
from silkline.models.printable import printable
from silkline.models.quantization import packing
from silkline.models.stand_in import FETCH, stand_in
from silkline.models.token_rules import IMAGE_DOCUMENTS, Documents, read_documents
from silkline.models.weights import INDEX, WHOLE, Weights, read_weights, why_pickled

_DOCUMENTS = (
    "generation_config.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
)
"""JSON files that transformers reads besides those about images. All are optional."""

_OF = re.compile(r"-of-(\d+)\.safetensors$")
_SEVERAL = 2
_AGAIN = "get it with `hf download`, or from where the model was published"
_SLOW = "tokenizer.model"
_SLOW_LIBRARIES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
"""Packages that transformers needs to read `tokenizer.model`, by module."""

_OWN_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
"""A tag in chat templates that only transformers supports."""


class _Tokenizer(msgspec.Struct):
    """The part of tokenizer.json that the library `tokenizers` requires."""

    model: msgspec.Raw


def model_lacks(
    folder: Path,
    files: Documents,
    weights: Weights,
    *,
    template: bool,
    unsupported: Callable[[Document], str | None] | None = None,
) -> str | None:
    """What prevents transformers from loading the model in a folder; None if nothing does.

    Args:
        folder: The model's folder.
        files: Its JSON files about images.
        weights: Its weights, read from the headers.
        template: Whether it needs a chat template.
        unsupported: Says why quantised weights are not supported, None if they are; without it,
            none are.
    """
    lacks = (
        *_damaged(folder),
        _said(lambda: weights_lack(folder, files.config, weights, unsupported)),
        image_processor_lacks(files),
        _said(lambda: tokenizer_lacks(folder)),
        _said(lambda: template_lacks(folder)) if template else None,
    )
    return "; ".join(dict.fromkeys(filter(None, lacks))) or None


def faults(folder: Path) -> tuple[str, ...]:
    """Everything that is missing or damaged in a folder, whatever its family needs beside it.

    It reads each file by itself, so that a damaged one hides no other.
    """
    found: list[str | None] = list(_damaged(folder))

    def note(error: ConfigError) -> None:
        found.append(_clause(error))

    try:
        weights = read_weights(folder, note)
    except ConfigError as error:
        note(error)
        weights = Weights()
    else:
        found.append(shards_lack(weights))
    if not (weights.gguf or weights.openvino):
        found.append(_said(lambda: image_processor_lacks(read_documents(folder))))
        found.append(_said(lambda: tokenizer_lacks(folder)))
    found.append(_said(lambda: _template_damage(folder)))
    return tuple(dict.fromkeys(filter(None, found)))


def with_all_faults(folder: Path, error: ConfigError) -> ConfigError:
    """An error of a folder's files, together with all others that there are."""
    found, clause = faults(folder), _clause(error)
    told = found if clause in found else (clause, *found)
    return ConfigError(f"{'; '.join(told)}.")


def _damaged(folder: Path) -> Iterator[str]:
    """What is wrong with each JSON file by itself."""
    for name in (CONFIG, *IMAGE_DOCUMENTS, *_DOCUMENTS):
        try:
            read_document(folder / name, name)
        except ConfigError as error:
            yield _clause(error)


def _said(check: Callable[[], str | None]) -> str | None:
    """The result of a check; a damaged file's error as text."""
    try:
        return check()
    except ConfigError as error:
        return _clause(error)


def _clause(error: ConfigError) -> str:
    return error.message.removesuffix(".")


def _template_damage(folder: Path) -> str | None:
    return None if read_chat_template(folder) is None else template_lacks(folder)


def check_documents(folder: Path) -> None:
    """Reads the JSON files that no other check reads.

    Raises:
        ConfigError: A file is damaged.
    """
    for name in _DOCUMENTS:
        read_document(folder / name, name)


def weights_lack(
    folder: Path,
    config: Document,
    weights: Weights,
    unsupported: Callable[[Document], str | None] | None = None,
) -> str | None:
    """What is missing of weights in safetensors; None if they are complete.

    Args:
        folder: The model's folder.
        config: Its config.json.
        weights: Its weights, read from the headers.
        unsupported: As in `model_lacks`.

    Raises:
        ConfigError: config.json or adapter_config.json is damaged.
    """
    if not weights.named and (adapter := adapter_refusal(folder)):
        return adapter
    if (method := packing(config) or ("unnamed" if weights.is_packed else None)) is not None:
        why = "the engine needs unquantised ones" if unsupported is None else unsupported(config)
        if why is not None:
            return (
                f"its weights are quantised ({printable(method)}), and {why}: get the original "
                "model, or use the engine remote with a server that supports it, such as vLLM"
            )
    return shards_lack(weights) or _unnamed(weights)


def shards_lack(weights: Weights) -> str | None:
    """What is missing of weights in safetensors of any name; None if they are complete."""
    lacks = []
    if weights.pointers:
        size = bytes_text(sum(weights.pointers.values()))
        lacks.append(
            f"{size} of its weights are not here, only Git LFS pointers to them "
            f"({few(weights.pointers)}): {FETCH}"
        )
    if weights.missing:
        size = f" ({bytes_text(weights.missing_bytes)})" if weights.missing_bytes else ""
        lacks.append(
            f"{len(weights.missing)} of its shards are not here{size}, which {INDEX} names: "
            f"{few(weights.missing)}; download them again"
        )
    if weights.absent:
        lacks.append(
            f"{len(weights.absent)} tensors are not in the shards that {INDEX} names for them "
            f"(for example {printable(weights.absent[0])}); download all shards again"
        )
    if mixed := _mixed(weights):
        lacks.append(mixed)
    if lacks or weights.files:
        return "; ".join(lacks) or None
    return why_pickled(weights) or _no_safetensors(weights)


def _mixed(weights: Weights) -> str | None:
    """Says if the shards are of several revisions of a model; None if nothing tells so."""
    counts = {found[1] for name in weights.shards if (found := _OF.search(name))}
    if len(counts) > 1:
        return (
            f"{INDEX} names shards of {' and of '.join(sorted(counts))}: they are of several "
            f"revisions ({few(weights.shards)}); download all files again, of one revision"
        )
    commits = sorted(set(weights.commits.values()))
    if len(commits) < _SEVERAL:
        return None
    first = {commit: name for name, commit in reversed(weights.commits.items())}
    shown = (f"{printable(first[commit])} is of {commit[:12]}" for commit in commits)
    return (
        f"its weights are of {len(commits)} revisions ({', '.join(shown)}): download all files "
        "again, of one revision"
    )


def image_processor_lacks(files: Documents) -> str | None:
    """Says if no file describes how images are preprocessed; None if one does."""
    if files.image:
        return None
    return (
        "its folder has no preprocessor_config.json, nor processor_config.json with an image "
        f"processor; {_AGAIN}"
    )


def tokenizer_lacks(folder: Path) -> str | None:
    """What is missing of a tokenizer that transformers can load; None if it is complete.

    Raises:
        ConfigError: A file is damaged.
    """
    if (folder / TOKENIZER).is_file():
        _check_fast(folder / TOKENIZER)
        return None
    if (folder / _SLOW).is_file():
        _check_here(folder / _SLOW)
        absent = [name for module, name in _SLOW_LIBRARIES.items() if not _is_installed(module)]
        if not absent:
            return None
        return (
            f"its tokenizer is {_SLOW} alone, without {TOKENIZER}: transformers reads that with "
            "the libraries sentencepiece and protobuf, and "
            f"{' and '.join(absent)} {_is(absent)} not installed; run: pip install sentencepiece "
            "protobuf"
        )
    pair = ("vocab.json", "merges.txt")
    here = [name for name in pair if (folder / name).is_file()]
    for name in here:
        _check_here(folder / name)
    if len(here) == len(pair):
        return None
    half = f" ({here[0]} alone is not enough)" if here else ""
    return (
        f"its folder has no {TOKENIZER}, nor {_SLOW}, nor vocab.json with merges.txt{half}; "
        f"{_AGAIN}"
    )


def special_tokens_lack(folder: Path) -> str | None:
    """Says if no file lists the special tokens, which clients must not send; None if one does.

    Raises:
        ConfigError: A file is damaged.
    """
    if (folder / TOKENIZER).is_file():
        _check_fast(folder / TOKENIZER)
    try:
        read_added_tokens(folder)
    except ConfigError as error:
        return error.message.rstrip(".")
    return None


def template_lacks(folder: Path) -> str | None:
    """What is wrong with the chat template; None if there is a usable one.

    Raises:
        ConfigError: A file is damaged.
    """
    template = read_chat_template(folder)
    if template is None:
        return (
            "it has no chat template (chat_template.jinja, chat_template.json, or chat_template in "
            f"{TOKENIZER_CONFIG}), which its family needs; {_AGAIN}; base models have none: choose "
            "an instruction-tuned model"
        )
    if fault := _template_fault(template):
        return f"its chat template {fault}; get the one that was published with the model"
    return None


def _template_fault(template: str) -> str | None:
    if "content" not in template:
        return "does not output the content of messages (content)"
    from jinja2 import Environment, TemplateSyntaxError  # noqa: PLC0415 - slow to import

    try:
        reader = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=True)
        reader.parse(_OWN_TAG.sub("", template))
    except TemplateSyntaxError as error:
        return f"is cut off or damaged (line {error.lineno}: {printable(error.message or '')})"
    return None


def _check_fast(path: Path) -> None:
    _check_here(path)
    try:
        msgspec.json.decode(path.read_bytes(), type=_Tokenizer)
    except (OSError, *UNDECODABLE) as error:
        raise ConfigError(
            f"{path.name} is not a whole tokenizer ({bytes_text(path.stat().st_size)}): it is cut "
            "off or damaged. Download it again."
        ) from error


def _check_here(path: Path) -> None:
    """Raises `ConfigError` if a file is only a stand-in, such as a Git LFS pointer."""
    try:
        instead = stand_in(path)
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}.") from error
    if instead:
        raise ConfigError(f"{path.name} {instead}.")


def _unnamed(weights: Weights) -> str | None:
    """Says if transformers would not find the weights by their names; None if it would."""
    if weights.named:
        return None
    if any("-of-" in name for name in weights.files):
        return f"it has shards ({few(weights.files)}) without their {INDEX}; {_AGAIN}"
    return (
        f"its weights are in {few(weights.files)}, and transformers looks for {WHOLE} or "
        f"{INDEX}; rename the file if it holds the whole model"
    )


def _no_safetensors(weights: Weights) -> str:
    found = weights.gguf or weights.other
    other = f", only {few(found)}" if found else ""
    hint = "; use the engine llamacpp for GGUF" if weights.gguf else ""
    return (
        f"there are no safetensors in its folder{other}; download {WHOLE}, or the shards and their "
        f"{INDEX}{hint}"
    )


_A_FEW = 3


def few(names: Collection[str]) -> str:
    """The first three names, and how many more there are."""
    listed = [printable(name) for name in names]
    more = len(listed) - _A_FEW
    return ", ".join(listed[:_A_FEW]) + (f" and {more} more" if more > 0 else "")


def _is(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
