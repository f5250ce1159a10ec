"""Interpolates the position embeddings in the graph of a vision tower, for smaller images."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from PIL import Image as Pillow

from silkline.errors import ConfigError


def interpolate_positions(tower: ov.Model, before: int, after: int) -> None:
    """Changes the graph in place.

    Args:
        tower: The tower, which adds an embedding `[1, positions, width]` to its patches.
        before: Patches along a side of its images.
        after: Those of the smaller images.

    Raises:
        ConfigError: Nothing of this shape is added.
    """
    for node in tower.get_ordered_ops():
        if node.get_type_name() != "Add":
            continue
        for index in range(node.get_input_size()):
            source = node.input_value(index)
            shape = source.get_partial_shape()
            if len(shape) != len("bpw") or shape.is_dynamic:
                continue
            added, count, _ = shape.to_shape()
            first = count - before**2
            if added == 1 and first in {0, 1} and count > 1 and not _depends_on_input(source):
                found = _interpolated(_value(source)[0], first, before, after)
                _change_shapes(tower, count, len(found))
                node.input(index).replace_source_output(ops.constant(found[None]).output(0))
                tower.validate_nodes_and_infer_types()
                return
    raise ConfigError(
        "The vision tower's graph adds no position embeddings, so its images cannot be scaled "
        "down. Leave this optimisation out."
    )


def _change_shapes(tower: ov.Model, before: int, after: int) -> None:
    """Changes the number of positions in shapes that the graph states, `[images, positions, ...]`.

    An exporter that traced the model wrote it there.
    """
    for node in tower.get_ops():
        if node.get_type_name() != "Reshape":
            continue
        stated = node.input_value(1).get_node()
        if stated.get_type_name() != "Constant":
            continue
        shape = stated.get_data().tolist()
        if len(shape) > len("bp") and shape[1] == before:
            shape[1] = after
            node.input(1).replace_source_output(ops.constant(np.array(shape, np.int64)).output(0))


def _interpolated(
    rows: NDArray[np.float32], first: int, before: int, after: int
) -> NDArray[np.float32]:
    """Scales a grid of embeddings bicubically; `first` rows before it stay as they are."""
    grid = rows[first:].reshape(before, before, -1)
    size = (after, after)
    scaled = [
        np.asarray(Pillow.fromarray(channel, "F").resize(size, Pillow.Resampling.BICUBIC))
        for channel in np.moveaxis(np.ascontiguousarray(grid), 2, 0)
    ]
    patches = np.stack(scaled, 2).reshape(after**2, -1)
    return np.concatenate((rows[:first], patches)).astype(np.float32)


def _depends_on_input(output: Any) -> bool:
    """Whether a parameter of the graph leads to an output."""
    seen, queue = set(), [output.get_node()]
    while queue:
        node = queue.pop()
        if node.get_type_name() == "Parameter":
            return True
        if node.get_name() not in seen:
            seen.add(node.get_name())
            queue += [each.get_node() for each in node.input_values()]
    return False


def _value(output: Any) -> NDArray[np.float32]:
    """What an output that depends on no input is."""
    graph = ov.Model([ops.convert(output, np.float32)], [], "constant")
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found: NDArray[np.float32] = compiled([])[0]
    return found.copy()
