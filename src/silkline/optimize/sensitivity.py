"""Measures how sensitive each layer of a decoder is to 4-bit weights."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from silkline.engines.openvino.arithmetic import arithmetic
from silkline.optimize.openvino_inputs import Inputs

_MAX_MEASURED = 64
"""Maximum number of layers that are measured one by one; more are measured by block."""

_BLOCK = re.compile(r".*?layers\.\d+")
_MAX_SAMPLES = 8
_MIN_SIZE = 4096
_known: dict[str, list[Layer]] = {}


class Layer(msgspec.Struct, frozen=True):
    """A layer, or the layers of a block.

    Attributes:
        layer: Its name.
        nodes: The names of its matrix products in the graph.
        weights: Number of its weights.
        divergence: Mean Kullback-Leibler divergence of the next token's distribution, in nats, from
            the exact model's, when only this layer is quantised.
    """

    layer: str
    nodes: tuple[str, ...]
    weights: int
    divergence: float


def sensitivity(
    graph: Path, inputs: Sequence[tuple[Inputs, int]], options: Mapping[str, Any]
) -> list[Layer]:
    """Measures each layer alone, the first layer of the graph first.

    Args:
        graph: The decoder with exact weights, `.xml`.
        inputs: Its inputs by item, and how many tokens at the end are the answer.
        options: Arguments of `nncf.compress_weights` for 4 bits.
    """
    used = inputs[:_MAX_SAMPLES]
    key = _key(graph, used, options)
    if key not in _known:
        _known[key] = _measured(graph, used, options)
    return _known[key]


def to_keep(layers: Sequence[Layer], share: float) -> list[Layer]:
    """The layers to keep: those that lose most for each weight, up to a share of all weights.

    At least one is kept.
    """
    ordered = sorted(layers, key=lambda each: -each.divergence / each.weights)
    limit = share * sum(each.weights for each in layers)
    kept: list[Layer] = []
    for each in ordered:
        if not kept or sum(one.weights for one in kept) + each.weights <= limit:
            kept.append(each)
    return kept


def _measured(
    graph: Path, inputs: Sequence[tuple[Inputs, int]], options: Mapping[str, Any]
) -> list[Layer]:
    exact = _distributions(ov.Core().read_model(graph), inputs)
    groups = _groups(ov.Core().read_model(graph))
    everything = {name for names, _ in groups.values() for name in names}
    found = []
    for label, (names, weights) in groups.items():
        model = ov.Core().read_model(graph)
        others = nncf.IgnoredScope(names=sorted(everything - set(names)), validate=False)
        changed = nncf.compress_weights(model, ignored_scope=others, **options)
        divergence = _divergence(exact, _distributions(changed, inputs))
        found.append(Layer(label, tuple(names), weights, divergence))
    return found


def _groups(model: ov.Model) -> dict[str, tuple[list[str], int]]:
    """The matrix products with weights, except the last one: by layer, or by block if many."""
    products = [
        (node.get_friendly_name(), size)
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul" and (size := _weights(node)) >= _MIN_SIZE
    ]
    found: dict[str, tuple[list[str], int]] = defaultdict(lambda: ([], 0))
    by_block = len(products) > _MAX_MEASURED
    for name, size in products[:-1]:  # the last product gives the logits, and keeps 8 bits
        block = _BLOCK.match(name) if by_block else None
        label = _short(block[0] if block else name)
        names, weights = found[label]
        found[label] = ([*names, name], weights + size)
    return dict(found)


def _weights(node: Any) -> int:
    """Number of constant weights of a matrix product; 0 if it has none."""
    source = node.input_value(1).get_node()
    while source.get_type_name() in {"Convert", "Multiply", "Subtract", "Reshape"}:
        source = source.input_value(0).get_node()
    return int(np.prod(source.get_output_shape(0))) if source.get_type_name() == "Constant" else 0


def _short(name: str) -> str:
    """A layer's name without what all share."""
    found = re.search(r"layers\.\d+(\.[\w.]+)?", name)
    return found[0] if found else name


def _distributions(
    model: ov.Model, inputs: Sequence[tuple[Inputs, int]]
) -> list[NDArray[np.float32]]:
    """Logarithms of the next token's probabilities, where an answer's tokens are to be chosen."""
    compiled = ov.Core().compile_model(model, "CPU", arithmetic())
    found = []
    for each, answer in inputs:
        # A new infer request: an old one keeps its keys and values.
        logits = compiled.create_infer_request().infer(each)[0][0]
        chosen = np.array(logits[-(answer + 1) :], np.float32)
        shifted = chosen - chosen.max(-1, keepdims=True)
        found.append(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
    return found


def _divergence(
    exact: Sequence[NDArray[np.float32]], changed: Sequence[NDArray[np.float32]]
) -> float:
    each = [
        (np.exp(a) * (a - b)).sum(-1) for a, b in zip(exact, changed, strict=True)
    ]  # nats of each position
    return max(0.0, float(np.concatenate(each).mean()))


def _key(graph: Path, inputs: Sequence[tuple[Inputs, int]], options: Mapping[str, Any]) -> str:
    found = hashlib.blake2b(graph.with_suffix(".bin").read_bytes(), digest_size=16)
    for each, answer in inputs:
        found.update(each["inputs_embeds"].tobytes() + str(answer).encode())
    found.update(repr(sorted((name, str(value)) for name, value in options.items())).encode())
    return found.hexdigest()
