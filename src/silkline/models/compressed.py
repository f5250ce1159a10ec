"""Reads which layers of a model are quantised in the compressed-tensors format, and how.

The format is that of llm-compressor: safetensors, and `quantization_config` in config.json. vLLM,
SGLang and the torch engine load it. https://github.com/vllm-project/compressed-tensors
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import msgspec

from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.documents import CONFIG, Document
from silkline.models.printable import printable

METHOD = "compressed-tensors"
SECTION = "quantization_config"
PACKED, INTEGERS, FLOATS = "pack-quantized", "int-quantized", "float-quantized"
"""The formats of weights: several in an int32, an int8 each, an FP8 number each."""

EVERY_LINEAR = "Linear"
"""The target that stands for all linear layers."""

_PATTERN = "re:"
_BYTE = 8
_OTHERS = f"the engine needs unquantised ones, or ones in the format {METHOD}"


class Scheme(msgspec.Struct, frozen=True):
    """How the weights of some layers are quantised; always symmetrically.

    Attributes:
        name: Its name in the field, such as "w4a16".
        kind: Whether levels are integers or floats (E4M3).
        bits: Bits of a weight.
        group: Number of weights in a row that share a scale; 0 if the whole row does.
        activations: Whether inputs are quantised too, with a scale per token at run time.
    """

    name: str
    kind: Literal["int", "float"]
    bits: Literal[4, 8]
    group: int
    activations: bool

    @property
    def format(self) -> str:
        """The format of the weights in the files."""
        if self.kind == "float":
            return FLOATS
        return INTEGERS if self.activations else PACKED


@dataclass(frozen=True, slots=True)
class Compressed:
    """The quantised layers of a model.

    Attributes:
        groups: Schemes, each with the layers that it is for.
        ignore: Layers that are not quantised.
    """

    groups: tuple[tuple[Scheme, tuple[str, ...]], ...]
    ignore: tuple[str, ...]

    @property
    def name(self) -> str:
        """The names of the schemes."""
        return "+".join(dict.fromkeys(scheme.name for scheme, _ in self.groups))

    def scheme_of(self, layer: str) -> Scheme | None:
        """The scheme of a linear layer; None if it is not quantised.

        Args:
            layer: Its name in the model. transformers renamed the parts of a model between its
                versions, so the older name counts too.
        """
        names = {layer, layer.removeprefix("model."), f"language_model.{layer}"}
        if any(_matches(target, names) for target in self.ignore):
            return None
        for scheme, targets in self.groups:
            if any(_matches(target, names) for target in targets):
                return scheme
        return next((scheme for scheme, targets in self.groups if EVERY_LINEAR in targets), None)


def _matches(target: str, names: set[str]) -> bool:
    if target.startswith(_PATTERN):
        pattern = target.removeprefix(_PATTERN)
        return any(re.match(pattern, name) for name in names)
    return target in names


class _Arguments(msgspec.Struct, frozen=True):
    num_bits: int = _BYTE
    type: str = "int"
    symmetric: bool = True
    strategy: str | None = None
    group_size: int | None = None
    dynamic: bool | str = False
    actorder: str | None = None


class _Group(msgspec.Struct, frozen=True):
    targets: list[str]
    weights: _Arguments | None = None
    input_activations: _Arguments | None = None
    output_activations: _Arguments | None = None
    format: str | None = None


class _Section(msgspec.Struct, frozen=True):
    config_groups: dict[str, _Group]
    format: str | None = None
    ignore: list[str] | None = None
    kv_cache_scheme: object = None
    quantization_status: str | None = None


def read_compressed(config: Document) -> Compressed | None:
    """Reads `quantization_config`; None if the model is not quantised.

    Raises:
        ConfigError: It is quantised in a way that the torch engine does not support, or the section
            does not have its documented form.
    """
    section = config.section(SECTION)
    if not section:
        return None
    if section.text("quant_method") != METHOD:
        raise ConfigError(_OTHERS)
    try:
        found = msgspec.convert(dict(section.values), _Section)
        for target in (
            *(found.ignore or ()),
            *(t for g in found.config_groups.values() for t in g.targets),
        ):
            re.compile(target.removeprefix(_PATTERN))
    except (*UNDECODABLE, re.error) as error:
        raise ConfigError(f"{CONFIG}: {SECTION} does not have the documented form.") from error
    if found.kv_cache_scheme is not None:
        raise ConfigError("its KV cache is quantised, which the engine does not support.")
    groups = tuple(
        (_scheme(group, group.format or found.format), tuple(group.targets))
        for group in found.config_groups.values()
    )
    return Compressed(groups, tuple(found.ignore or ()))


def unsupported(config: Document) -> str | None:
    """Why the torch engine cannot run a quantised model; None if it can."""
    try:
        found = read_compressed(config)
    except ConfigError as error:
        return error.message.removesuffix(".")
    return None if found else _OTHERS


def _scheme(group: _Group, written: str | None) -> Scheme:
    weights, inputs = group.weights, group.input_activations
    if weights is None or not weights.symmetric or weights.actorder or weights.dynamic:
        raise ConfigError("the engine supports symmetric weights in the order of the model only.")
    if weights.strategy not in {"channel", "group"} or group.output_activations is not None:
        strategy = printable(weights.strategy or "unnamed")
        raise ConfigError(f"the engine supports a scale per channel or group, not {strategy}.")
    size = (weights.group_size or 0) if weights.strategy == "group" else 0
    if inputs is not None and not (
        inputs.num_bits == weights.num_bits == _BYTE
        and inputs.type == weights.type
        and (inputs.strategy, inputs.symmetric, size) == ("token", True, 0)
        and inputs.dynamic is True
    ):
        raise ConfigError("the engine supports inputs in 8 bits with a scale per token only.")
    for scheme in SCHEMES.values():
        made = msgspec.structs.replace(scheme, group=size)
        own = scheme.kind, scheme.bits, scheme.activations, scheme.format
        if own == (weights.type, weights.num_bits, inputs is not None, written):
            return made
    raise ConfigError(
        f"the engine does not support {weights.num_bits} bits of the type "
        f"{printable(weights.type)} in the format {printable(written or 'unnamed')}."
    )


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("w8a16", "int", 8, 0, activations=False),
        Scheme("w8a8", "int", 8, 0, activations=True),
        Scheme("w4a16", "int", 4, 128, activations=False),
        Scheme("fp8", "float", 8, 0, activations=True),
    )
}
"""The schemes that can be made and served, by name."""


def written(compressed: Compressed) -> dict[str, object]:
    """The section `quantization_config` that describes quantised layers."""
    formats = {scheme.format for scheme, _ in compressed.groups}
    return {
        "quant_method": METHOD,
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "ignore": list(compressed.ignore),
        "config_groups": {
            f"group_{place}": {
                "targets": list(targets),
                "format": scheme.format,
                "weights": {
                    "num_bits": scheme.bits,
                    "type": scheme.kind,
                    "symmetric": True,
                    "strategy": "group" if scheme.group else "channel",
                    "group_size": scheme.group or None,
                    "dynamic": False,
                },
                "input_activations": _INPUTS | {"type": scheme.kind}
                if scheme.activations
                else None,
                "output_activations": None,
            }
            for place, (scheme, targets) in enumerate(compressed.groups)
        },
        "kv_cache_scheme": None,
    }


_INPUTS = {"num_bits": _BYTE, "symmetric": True, "strategy": "token", "dynamic": True}
