"""Reads the weights in a folder from their headers: parameters, dtypes, bytes, missing shards."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain
from pathlib import Path

import msgspec

from silkline.errors import ConfigError
from silkline.models.documents import Document, read_document
from silkline.models.printable import printable
from silkline.models.safetensors_header import Tensor, read_header
from silkline.models.stand_in import pointer_size

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
LANGUAGE_MODEL = "openvino_language_model.xml"
"""The file that marks a folder as OpenVINO IR: every pipeline needs this graph."""

VISION_TOWER = "openvino_vision_embeddings_model.xml"
"""The graph that makes an image's features."""

PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
"""Extensions of pickle-based formats, which Silkline never reads."""

_OTHER_FORMATS = frozenset({".onnx", ".h5", ".msgpack", ".npz", ".tflite", ".pte", ".engine"})
"""Extensions of weights in formats that no engine reads."""

PLAIN_DTYPES = frozenset({"F16", "BF16", "F32", "F64", "I64", "BOOL"})
"""Dtypes of weights that are not quantised, as safetensors names them."""

_PACKED_SHARE = 0.1
"""Weights count as quantised above this share of elements in other dtypes (U32, F8_E4M3 etc.)."""

_MAX_FILES = 20_000
_MAX_SHARDS = 1000
_COMMIT_CHARACTERS = 40


class Part(StrEnum):
    """A part of a model that parameters belong to."""

    VISION = "vision tower"
    PROJECTOR = "projector"
    LANGUAGE = "language model"
    EMBEDDINGS = "embeddings"
    OTHER = "other"


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The weights in a folder, according to their headers.

    Attributes:
        files: The safetensors files that are present.
        bytes: Their total size.
        parameters: Elements of the present files' tensors by part; tied embeddings, which are
            stored once, count once.
        dtypes: Elements by dtype.
        tensor_bytes: Total size of the tensors in the present files.
        missing: Shards that the index names but the folder lacks.
        pointers: Git LFS pointers in place of safetensors, with the size of the real files.
        absent: Tensors that are missing from the shard that the index names for them.
        declared_bytes: Total size of all tensors according to the index.
        named: Whether transformers finds the files: by `model.safetensors` or by the index.
        refused: Files with pickled weights, which are not read.
        openvino: Size by file of OpenVINO IR, `.xml` and the `.bin` beside it.
        gguf: GGUF files beside config.json, language models and vision towers.
        other: Weights in formats that no engine reads, such as ONNX.
        commits: The commit that each present file was downloaded from, as `hf download` noted it.
    """

    files: tuple[str, ...] = ()
    bytes: int = 0
    parameters: dict[Part, int] = {}
    dtypes: dict[str, int] = {}
    tensor_bytes: int = 0
    missing: tuple[str, ...] = ()
    pointers: dict[str, int] = {}
    absent: tuple[str, ...] = ()
    declared_bytes: int | None = None
    named: bool = False
    refused: tuple[str, ...] = ()
    openvino: dict[str, int] = {}
    gguf: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    commits: dict[str, str] = {}

    @property
    def is_export(self) -> bool:
        """Whether the folder holds OpenVINO IR with a language model, ready to serve."""
        return LANGUAGE_MODEL in self.openvino

    @property
    def is_packed(self) -> bool:
        """Whether many elements have dtypes that only quantised weights use."""
        packed = sum(count for dtype, count in self.dtypes.items() if dtype not in PLAIN_DTYPES)
        return packed > _PACKED_SHARE * sum(self.dtypes.values())

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of all files that should hold the weights, present or not."""
        return tuple(sorted((*self.files, *self.missing, *self.pointers)))

    @property
    def missing_bytes(self) -> int | None:
        """Total size of the tensors in missing shards; None if the index does not say."""
        if self.declared_bytes is None:
            return None
        return max(0, self.declared_bytes - self.tensor_bytes - sum(self.pointers.values()))

    @property
    def total(self) -> int | None:
        """Number of all parameters; None if no header was read or shards are missing."""
        whole = self.files and not self.missing and not self.pointers
        return sum(self.parameters.values()) if whole else None


def _raise(error: ConfigError) -> None:
    raise error


def read_weights(folder: Path, on_damage: Callable[[ConfigError], None] = _raise) -> Weights:
    """Reads the headers of a folder's weights, but no tensor data.

    Args:
        folder: The folder.
        on_damage: Called for each damaged file of weights, whose tensors are then left out.

    Raises:
        ConfigError: A file is damaged, or the folder holds more than 20,000 files.
    """
    sizes = dict(_files(folder))
    index = Document(INDEX, {}) if WHOLE in sizes else read_document(folder / INDEX, INDEX)
    shards = _shards(index) if index else _whole(sizes)
    pointers = _pointers(folder, [name for name in shards if name in sizes])
    present = tuple(name for name in shards if name in sizes and name not in pointers)
    tensors: dict[str, tuple[Tensor, ...]] = {}
    for name in present:
        try:
            tensors[name] = read_header(folder / name, name)
        except ConfigError as error:
            on_damage(error)
    parameters: Counter[Part] = Counter()
    dtypes: Counter[str] = Counter()
    for tensor in chain.from_iterable(tensors.values()):
        parameters[part_of(tensor.name)] += tensor.elements
        dtypes[tensor.dtype] += tensor.elements
    graphs = {name for name in sizes if name.endswith(".xml")}
    belonging = {f"{name.removesuffix('.xml')}.bin" for name in graphs}
    return Weights(
        files=present,
        bytes=sum(sizes[name] for name in present),
        parameters={part: parameters[part] for part in Part if parameters[part]},
        dtypes=dict(dtypes.most_common()),
        tensor_bytes=sum(tensor.bytes for tensor in chain.from_iterable(tensors.values())),
        missing=tuple(name for name in shards if name not in sizes),
        pointers=pointers,
        absent=_absent(index, tensors),
        declared_bytes=index.section("metadata").number("total_size", minimum=0),
        named=WHOLE in sizes or bool(index),
        refused=tuple(
            name for name in sizes if Path(name).suffix in PICKLED and name not in belonging
        ),
        openvino={name: sizes[name] for name in sizes if name in graphs | belonging},
        gguf=tuple(name for name in sizes if name.endswith(".gguf") and "/" not in name),
        other=tuple(name for name in sizes if Path(name).suffix in _OTHER_FORMATS),
        commits={name: commit for name in present if (commit := _commit(folder, name))},
    )


def why_pickled(weights: Weights) -> str | None:
    """Why no engine accepts these weights; None unless all of them are pickled."""
    if not weights.refused or weights.files or weights.gguf:
        return None
    return (
        f"its weights are pickled ({printable(weights.refused[0])}), which is not accepted: they "
        "can run code when read; get safetensors"
    )


def size_on_disk(folder: Path) -> int:
    """Total size of all files below a folder, in bytes.

    Raises:
        ConfigError: It holds more than 20,000 files.
    """
    return sum(size for _, size in _files(folder))


_VISION = frozenset({"vision_tower", "vision_model", "visual", "vision_encoder", "vpm"})
_PROJECTOR = frozenset(
    {
        "connector",
        "deepstack_merger_list",
        "embed_vision",
        "image_newline",
        "language_projection",
        "merger",
        "mlp1",
        "mm_projector",
        "modality_projection",
        "multi_modal_projector",
        "qformer",
        "query_tokens",
        "resampler",
    }
)
_EMBEDDINGS = frozenset({"embed_tokens", "lm_head", "shared", "tok_embeddings", "wte"})
_LANGUAGE = frozenset(
    {"decoder", "language_model", "layers", "llm", "norm", "text_model", "transformer"}
)


def part_of(tensor: str) -> Part:
    """The part of the model that a tensor belongs to, by its name in transformers.

    Everything between vision and language counts as the projector, including a Q-Former, Qwen's
    merger inside `visual` and LLaVA-NeXT's `image_newline`. Embeddings are the token embeddings
    and the output matrix.
    """
    names = [name for name in tensor.split(".") if name != "model"]
    outer = set(names[:2])
    if outer & _PROJECTOR:
        return Part.PROJECTOR
    if outer & _VISION:
        return Part.VISION
    if set(names) & _EMBEDDINGS:
        return Part.EMBEDDINGS
    return Part.LANGUAGE if outer & _LANGUAGE else Part.OTHER


def pattern_of(part: Part) -> str:
    """A regular expression for the names of all that belongs to the vision tower or projector.

    It is matched from a name's start, and agrees with `part_of` with and without a prefix "model".
    """
    names = _VISION if part is Part.VISION else _PROJECTOR
    return rf"(?:model\.)?(?:\w+\.)?(?:model\.)?(?:{'|'.join(sorted(names))})(?:\.|$)"


def _shards(index: Document) -> tuple[str, ...]:
    """The shards in an index; each must be a plain file name in the same folder."""
    values = set(index.section("weight_map").values.values())
    names = sorted(value for value in values if isinstance(value, str))
    plain = all(Path(name).name == name and name.endswith(".safetensors") for name in names)
    if len(names) != len(values) or not plain or not 0 < len(names) <= _MAX_SHARDS:
        raise ConfigError(
            f"{INDEX} does not name safetensors files beside it. Download the file again from "
            "where it was published."
        )
    return tuple(names)


def _pointers(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """The Git LFS pointers among the files, with the size of the files that they refer to."""
    try:
        sizes = {name: pointer_size(folder / name) for name in names}
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return {name: size for name, size in sizes.items() if size is not None}


def _commit(folder: Path, name: str) -> str | None:
    """The commit in the note that `hf download --local-dir` keeps of a file; None without one.

    The note's first line is the commit, the second the file's digest (huggingface_hub,
    `read_download_metadata`).
    """
    note = folder / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    try:
        with note.open(encoding="utf-8") as file:
            commit = file.readline(_COMMIT_CHARACTERS + 1).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if len(commit) == _COMMIT_CHARACTERS else None


def _absent(index: Document, tensors: Mapping[str, tuple[Tensor, ...]]) -> tuple[str, ...]:
    """Tensors that are missing from the present shard that the index names for them."""
    here = {shard: {tensor.name for tensor in listed} for shard, listed in tensors.items()}
    placed = index.section("weight_map").values.items()
    return tuple(sorted(name for name, shard in placed if name not in here.get(shard, {name})))


def _whole(sizes: dict[str, int]) -> tuple[str, ...]:
    """The weights of a folder without an index: one file, or all safetensors beside config.json."""
    if WHOLE in sizes:
        return (WHOLE,)
    return tuple(name for name in sizes if name.endswith(".safetensors") and "/" not in name)


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """All files below a folder with their sizes, sorted by name; links to files are included.

    Hidden folders are skipped, because downloads keep their bookkeeping there.
    """
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names]
        if len(found) > _MAX_FILES:
            raise ConfigError(
                f"{folder} holds more than {_MAX_FILES} files: it is not the folder of one model."
            )
    for path in sorted(found):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.stat().st_size
