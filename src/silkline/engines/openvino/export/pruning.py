"""Adds the pruning of image tokens to the graph of a vision tower.

The nodes compute what `engines.torch.pruning` does; see there for the formulas. The graph's output
`[images, features, width]` becomes `[images, kept, width]`. Where the choice depends on the prompt,
the graph gets a second input, `query` `[images, width]`: the mean direction of the prompt's text
embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.op import Parameter, loop

from silkline.engines.pruning_seed import random_kept
from silkline.errors import ConfigError
from silkline.models.pruning import Method, Pruning

QUERY = "query"
"""Name of the input with the direction of the prompt's text."""

_EPSILON = 1e-6
_NEVER = -1e4
"""Below every distance and gain, and exact in 16 bits."""

Node = Any
"""A node of OpenVINO's graph, whose classes have no types."""


def add_pruning(tower: ov.Model, pruning: Pruning) -> int:
    """Changes a tower's graph in place.

    Returns:
        How many tokens an image has left.

    Raises:
        ConfigError: The graph does not state its number of features or their width, has several
            inputs or outputs, or no feature would be dropped.
    """
    shape = tower.output(0).get_partial_shape()
    sizes = [each.get_length() for each in list(shape)[1:] if each.is_static]
    if len(tower.outputs) != 1 or len(tower.inputs) != 1 or len(sizes) != len("fw"):
        raise ConfigError(
            "Image tokens can be pruned only in a vision tower with one input, and one output of a "
            "fixed number of features. Export the model again."
        )
    count, width = sizes
    kept = pruning.kept(count)
    if kept == count:
        raise ConfigError(
            f"Of {count} features of an image, a share of {pruning.keep:g} keeps all. Keep less."
        )
    result = tower.get_results()[0]
    names = tower.output(0).get_names()
    features = ops.convert(result.input_value(0), np.float32)
    query = ops.parameter([-1, width], np.float32, name=QUERY)
    query.output(0).set_names({QUERY})
    output = _output(_pruned(features, count, kept, pruning.method, query))
    result.input_value(0).set_names(set())
    output.set_names(names)
    result.input(0).replace_source_output(output)
    if pruning.method.needs_prompt:
        tower.add_parameters([query])
    tower.validate_nodes_and_infer_types()
    return kept


def _pruned(features: Node, count: int, kept: int, method: Method, query: Node) -> Node:
    if method is Method.MERGE:
        return _merged(features, count, kept)
    if method is Method.RANDOM:
        return ops.gather(features, _integers(random_kept(count, kept)), _integers(1))
    compared = _unit(features)
    similarity = _product(compared, compared, second=True)
    if method is Method.DIVPRUNE:
        indices = _max_min(similarity, count, kept)
    else:
        relevance = _relevance(compared, query)
        if method is Method.ADAPTIVE:
            total = ops.reduce_sum(similarity * similarity, _integers([1, 2]))
            lack = _number(1) - _number(count) / total
            relevance = ops.power(relevance, ops.unsqueeze(lack, _integers(1)))
        kernel = similarity * _column(relevance) * _row(relevance)
        indices = _max_determinant(kernel, relevance * relevance, count, kept)
    return _at(features, _sorted(indices, kept))


def _max_min(similarity: Node, count: int, kept: int) -> Node:
    distance = _number(1) - similarity
    itself = ops.constant(np.eye(count, dtype=np.float32)[None] * np.float32(-_NEVER))
    lonely = ops.reduce_min(distance + itself, _integers(2))

    def step(last: Node, states: Sequence[Node], distance: Node, number: Node) -> list[Node]:
        del number
        found = ops.minimum(states[0], _one_row(distance, last))
        return [_without(found, last, count)]

    return _greedy(
        _first_of_largest(lonely), [lonely * _number(0) - _number(_NEVER)], distance, kept, step
    )


def _max_determinant(kernel: Node, gains: Node, count: int, kept: int) -> Node:
    factors = ops.tile(_row(gains * _number(0)), _integers([1, kept, 1]))

    def step(last: Node, states: Sequence[Node], kernel: Node, number: Node) -> list[Node]:
        gains, factors = states
        own = _at(gains, last)
        column = ops.gather(factors, last, _integers(2), batch_dims=1)
        projected = _product(column, factors, first=True)
        divisor = ops.sqrt(ops.maximum(own, _number(_EPSILON)))
        factor = (_at(kernel, last) - projected) / _column(divisor)
        factors = ops.scatter_update(factors, number, factor, _integers(1))
        factor = ops.squeeze(factor, _integers(1))
        return [_without(gains - factor * factor, last, count), factors]

    return _greedy(_first_of_largest(gains), [gains, factors], kernel, kept, step)


Step = Callable[[Node, Sequence[Node], Node, Node], list[Node]]
"""From the last chosen index `[B, 1]`, the states, the invariant and the step's number to the next
states, of which the first `[B, count]` says how good each index is."""


def _greedy(first: Node, states: Sequence[Node], fixed: Node, kept: int, step: Step) -> Node:
    """Chooses one index after the other, in a loop of the graph; `[B, kept]`."""
    if kept == 1:
        return first
    inner = [_like(each) for each in (first, *states, fixed)]
    number = ops.parameter([1], np.int64)
    last, *own, constant = inner
    following = step(last, own, constant, number)
    index = _first_of_largest(following[0])
    always = ops.constant(np.array([True]))
    body = ov.Model(
        [_output(each) for each in (always, index, *following)], [number, *inner], "choose"
    )
    made = loop(_output(_scalar(kept - 1)), _output(ops.constant(np.array([True]))))
    made.set_function(body)
    made.set_special_body_ports([0, 0])
    made.set_invariant_input(constant, _output(fixed))
    results = [each.output(0) for each in body.get_results()]
    for parameter, start, result in zip(inner[:-1], (first, *states), results[1:], strict=True):
        made.set_merged_input(parameter, _output(start), result)
    rest = made.get_concatenated_slices(results[1], 0, 1, 1, -1, 1)
    made.validate_and_infer_types()
    return ops.concat([first, rest], 1)


def _merged(features: Node, count: int, kept: int) -> Node:
    values = features
    sizes = ops.reduce_sum(features * _number(0), _integers(2), keep_dims=True) + _number(1)
    while count > kept:
        fewer = min(count - kept, count // 2)
        values, sizes = _matched(values, sizes, count, fewer)
        count -= fewer
    return values


def _matched(values: Node, sizes: Node, count: int, fewer: int) -> tuple[Node, Node]:
    """A round of bipartite matching: `fewer` of the tokens with even indices are merged."""
    half, rows = count // 2, count - count // 2
    sources = [_strided(each, 0, count) for each in (values, sizes)]
    targets = [_strided(each, 1, count) for each in (values, sizes)]
    cosines = _product(_unit(sources[0]), _unit(targets[0]), second=True)
    best = ops.topk(cosines, _scalar(1), 2, "max", "none", "i64")
    scores, nearest = (ops.squeeze(each, _integers(2)) for each in best.outputs())
    order = ops.topk(scores, _scalar(rows), 1, "max", "value", "i64", stable=True).output(1)
    source = _part(order, 0, fewer)
    into = ops.one_hot(_at(nearest, source), _scalar(half), np.float32(1), np.float32(0), axis=1)
    totals = targets[1] + _product(into, _at(sources[1], source))
    weighted = _at(sources[0] * sources[1], source)
    sums = targets[0] * targets[1] + _product(into, weighted)
    merged = sums / totals
    if fewer == rows:
        return merged, totals
    left = _part(order, fewer, rows)
    odd = ops.reduce_sum(
        ops.multiply(order, _integers(0)), _integers(1), keep_dims=True
    ) + _integers([range(1, 2 * half, 2)])
    indices = ops.concat([left * _integers(2), odd], 1)
    in_order = ops.topk(indices, _scalar(count - fewer), 1, "min", "value", "i64").output(1)
    return (
        _at(ops.concat([_at(sources[0], left), merged], 1), in_order),
        _at(ops.concat([_at(sources[1], left), totals], 1), in_order),
    )


def _relevance(compared: Node, query: Node) -> Node:
    cosines = ops.squeeze(_product(compared, _column(query)), _integers(2))
    low, high = (
        each(cosines, _integers(1), keep_dims=True) for each in (ops.reduce_min, ops.reduce_max)
    )
    return (cosines - low + _number(_EPSILON)) / (high - low + _number(_EPSILON))


def _product(left: Node, right: Node, *, first: bool = False, second: bool = False) -> Node:
    """A matrix product, in which the first or the second factor is transposed."""
    return ops.matmul(left, right, first, second)


def _unit(rows: Node) -> Node:
    squares = ops.reduce_sum(rows * rows, _integers(2), keep_dims=True)
    return rows / ops.maximum(ops.sqrt(squares), _number(_EPSILON))


def _first_of_largest(values: Node) -> Node:
    """The index of the largest of each row `[B, count]`, as `[B, 1]`."""
    return ops.topk(values, _scalar(1), 1, "max", "none", "i64").output(1)


def _sorted(indices: Node, count: int) -> Node:
    return ops.topk(indices, _scalar(count), 1, "min", "value", "i64").output(0)


def _without(values: Node, last: Node, count: int) -> Node:
    """The values, but none at the last index."""
    taken = ops.equal(_integers([range(count)]), last)
    return ops.select(taken, _number(_NEVER), values)


def _one_row(matrix: Node, index: Node) -> Node:
    return ops.squeeze(_at(matrix, index), _integers(1))


def _at(values: Node, indices: Node) -> Node:
    """Rows of each image by its own indices `[B, n]`."""
    return ops.gather(values, indices, _integers(1), batch_dims=1)


def _part(values: Node, start: int, end: int) -> Node:
    return ops.slice(values, _integers([start]), _integers([end]), _integers([1]), _integers([1]))


def _strided(values: Node, start: int, count: int) -> Node:
    return ops.slice(values, _integers([start]), _integers([count]), _integers([2]), _integers([1]))


def _column(vector: Node) -> Node:
    return ops.unsqueeze(vector, _integers(2))


def _row(vector: Node) -> Node:
    return ops.unsqueeze(vector, _integers(1))


def _like(node: Node) -> Parameter:
    output = _output(node)
    return ops.parameter(output.get_partial_shape(), output.get_element_type())


def _output(node: Node) -> ov.Output:
    """A node's first output, or the output that it is."""
    return node.output(0) if isinstance(node, ov.Node) else node


def _integers(values: Any) -> Node:
    return ops.constant(np.atleast_1d(np.array(values, np.int64)))


def _scalar(value: int) -> Node:
    return ops.constant(np.int64(value))


def _number(value: float) -> Node:
    return ops.constant(np.float32(value))
