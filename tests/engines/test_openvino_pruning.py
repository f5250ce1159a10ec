"""Pruning in the graph of a vision tower: against a plain reference, and in the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino_genai")

import openvino as ov
from openvino import opset13 as ops

from silkline.engines.base import EngineOptions
from silkline.engines.openvino.embedding import Embedder
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.engines.openvino.export.positions import interpolate_positions
from silkline.engines.openvino.export.pruning import QUERY, add_pruning
from silkline.engines.openvino.export.towers import replace_graph
from silkline.errors import ConfigError
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.pruning import Method, Pruning
from silkline.models.resolve import bundled_folder
from silkline.optimize.build import build
from silkline.optimize.pruning import pruning_optimisation
from tests.engines import pruning_reference as reference
from tests.engines.asking import answer, picture, question, request, user

WIDTH = 24
TOWER = "openvino_vision_embeddings_model.xml"


def drawn(seed: int, *shape: int) -> reference.Array:
    """Features in few directions, as those of an image are."""
    dice = np.random.default_rng(seed)
    bases = dice.standard_normal((max(2, shape[0] // 3), shape[1]))
    mixed = dice.random((shape[0], len(bases))) ** 4 @ bases
    found: reference.Array = mixed + 0.1 * dice.standard_normal(shape)
    return found


def tower(count: int) -> ov.Model:
    """A tower that returns its input."""
    pixels = ops.parameter([-1, count, WIDTH], np.float32, name="pixel_values")
    same = ops.multiply(pixels, np.float32(1))
    same.output(0).set_names({"last_hidden_state"})
    return ov.Model([same], [pixels], "tower")


def pruned(
    method: Method, features: reference.Array, kept: int, texts: list[reference.Array]
) -> reference.Array:
    graph = tower(features.shape[1])
    assert add_pruning(graph, Pruning(method, kept / features.shape[1])) == kept
    assert graph.output(0).get_names() == {"last_hidden_state"}
    assert graph.output(0).get_partial_shape()[1].get_length() == kept
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = {0: features.astype(np.float32)}
    if method.needs_prompt:
        queries = [reference.unit(text).mean(0) for text in texts]
        inputs |= {QUERY: np.array(queries, np.float32)}  # type: ignore[dict-item]
    found: reference.Array = compiled(inputs)[0]
    return found


@pytest.mark.parametrize(("count", "kept"), [(18, 1), (18, 9), (19, 7), (17, 16), (18, 3)])
def test_the_graph_chooses_as_the_formulas_say(count: int, kept: int) -> None:
    """For several images at once, each with the text of its own prompt."""
    features = np.stack([drawn(seed, count, WIDTH) for seed in (1, 2, 3)])
    texts = [drawn(seed, 5, WIDTH) for seed in (11, 12, 13)]
    ways: dict[Method, Callable[[reference.Array, reference.Array], reference.Array]] = {
        Method.DIVPRUNE: lambda rows, _: rows[reference.divprune(rows, kept)],
        Method.CDPRUNER: lambda rows, text: rows[reference.cdpruner(rows, kept, text)],
        Method.ADAPTIVE: lambda rows, text: rows[reference.adaptive(rows, kept, text)],
        Method.MERGE: lambda rows, _: reference.merge(rows, kept)[0],
    }
    for method, choose in ways.items():
        found = pruned(method, features, kept, texts)
        expected = [choose(rows, text) for rows, text in zip(features, texts, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=method)


def test_random_tokens_are_the_same_of_every_image() -> None:
    places = np.broadcast_to(np.arange(20.0)[None, :, None], (2, 20, WIDTH))
    found = pruned(Method.RANDOM, places, 8, [])
    assert found[0, :, 0].tolist() == found[1, :, 0].tolist() == sorted(set(found[0, :, 0]))


def test_what_cannot_be_pruned_is_said() -> None:
    with pytest.raises(ConfigError, match=r"keeps all\. Keep less"):
        add_pruning(tower(4), Pruning(Method.DIVPRUNE, 0.95))
    moving = tower(-1)
    with pytest.raises(ConfigError, match="fixed number of features"):
        add_pruning(moving, Pruning(Method.DIVPRUNE, 0.5))
    conditioned = tower(8)
    add_pruning(conditioned, Pruning(Method.CDPRUNER, 0.5))
    with pytest.raises(ConfigError, match="one input"):
        add_pruning(conditioned, Pruning(Method.CDPRUNER, 0.5))


def test_position_embeddings_of_equal_values_stay_equal() -> None:
    pixels = ops.parameter([-1, 3, WIDTH], np.float32)
    grid = ops.constant(np.full((1, 17, WIDTH), 0.5, np.float32))
    with pytest.raises(ConfigError, match="no position embeddings"):
        interpolate_positions(ov.Model([ops.relu(pixels)], [pixels], "none"), 4, 3)
    patches = ops.parameter([-1, -1, WIDTH], np.float32)
    graph = ov.Model([ops.add(patches, grid)], [patches], "tower")
    interpolate_positions(graph, 4, 3)
    compiled = ov.Core().compile_model(graph, "CPU")
    found = compiled([np.zeros((2, 10, WIDTH), np.float32)])[0]
    np.testing.assert_allclose(found, np.full((2, 10, WIDTH), 0.5), atol=1e-3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundled model with a method that needs the prompt."""
    change = pruning_optimisation("openvino", Pruning(Method.CDPRUNER, 0.25))
    target = tmp_path_factory.mktemp("pruned") / "bundle"
    return build(load_bundle(bundled_folder()), [change], target, [], None, lambda _: None)


def options(bundle: Bundle) -> EngineOptions:
    return EngineOptions(model=bundle.folder, kv_cache_bytes=64 * 1024 * 1024, threads=1)


async def test_a_pruned_bundle_is_served_with_fewer_tokens(bundle: Bundle) -> None:
    """Several images in one prompt, each counted; the same answers one by one and together."""
    engine = OpenVinoEngine(options(bundle))
    await engine.start()
    try:
        assert engine.info.image_tokens == 16
        two = request(user(0, "Compare with ", 1), images=(picture(1), picture(2)))
        usage = (await answer(engine, two)).usage
        assert usage.image_tokens == 32
        none = (await answer(engine, request(user("Compare with ")))).usage
        assert none.image_tokens == 0
        assert (await answer(engine, question(seed=1))).usage.image_tokens == 16
    finally:
        await engine.aclose()


async def test_a_tower_that_does_not_prune_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Else the prompt would have more tokens than are counted, or none would be dropped."""
    copy = tmp_path / "copy"
    base = load_bundle(bundled_folder())
    change = pruning_optimisation("openvino", Pruning(Method.DIVPRUNE, 0.5))
    broken = build(base, [change], copy, [], None, lambda _: None)
    whole = ov.Core().read_model(base.weights("openvino") / TOWER)
    replace_graph(broken.weights("openvino") / TOWER, whole)
    with pytest.raises(ConfigError, match=r"returns 64 tokens of an image, .* say 32"):
        await OpenVinoEngine(options(broken)).start()


async def test_where_genai_makes_the_prompts_a_pruned_bundle_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Embedder, "supports", lambda _: False)
    with pytest.raises(ConfigError, match="only for LLaVA layouts"):
        await OpenVinoEngine(options(bundle)).start()
