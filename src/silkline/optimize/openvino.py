"""Optimisations for the engine openvino: INT8 and INT4 weights, a static INT8 tower, the KV cache.

The heavy libraries are imported when an optimisation is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec

from silkline.models.bundle import Bundle, EngineWeights
from silkline.models.documents import read_document
from silkline.models.preprocessing import read_preprocessing
from silkline.models.weights import LANGUAGE_MODEL
from silkline.optimize.optimisation import Optimisation, Work

_ENGINE = "openvino"
_TOWER = "openvino_vision_embeddings_model.xml"
_PARTS = (LANGUAGE_MODEL, "openvino_text_embeddings_model.xml", _TOWER)
_EXACT = frozenset({"fp16", "float16", "fp32", "float32"})
_GROUP = 64
"""Weights that share a scale in INT4, where the layer's width allows it."""

_IMAGES = "preprocessor_config.json"


def _of_exact_weights(bundle: Bundle) -> str:
    """Why weights cannot be compressed; empty if they can."""
    entry = bundle.manifest.engines[_ENGINE]
    if entry.precision not in _EXACT:
        return f"its weights are {entry.precision} already; start from a bundle of fp16"
    return ""


def _of_exact_tower(bundle: Bundle) -> str:
    from silkline.engines.openvino.images import ClipPreprocessor  # noqa: PLC0415 - needs numpy

    entry = bundle.manifest.engines[_ENGINE]
    precision = entry.vision_precision or entry.precision
    if precision not in _EXACT:
        return f"its vision tower is {precision} already; start from a bundle of fp16"
    if entry.pruning is not None:
        return "its image tokens are pruned already; apply this before"
    folder = bundle.weights(_ENGINE)
    if not (folder / _TOWER).is_file():
        return "it has no vision tower of its own"
    steps = read_preprocessing(read_document(folder / _IMAGES, _IMAGES))
    if not ClipPreprocessor.supported(steps):
        return "its images are not preprocessed by the engine, so they cannot calibrate it"
    return ""


def _kv_differs(precision: str, bundle: Bundle) -> str:
    entry = bundle.manifest.engines[_ENGINE]
    return f"its KV cache is {precision} already" if entry.kv_precision == precision else ""


def _compress(mode: str, parts: tuple[str, ...], work: Work) -> None:
    """Compresses the weights of graphs."""
    import nncf  # noqa: PLC0415 - heavy
    import openvino as ov  # noqa: PLC0415 - heavy

    from silkline.engines.openvino.export.towers import replace_graph  # noqa: PLC0415 - heavy

    options: dict[str, Any] = {"mode": nncf.CompressWeightsMode[mode]}
    if mode.startswith("INT4"):
        fallback = nncf.GroupSizeFallbackMode.ADJUST
        options |= {
            "group_size": _GROUP,
            "advanced_parameters": nncf.AdvancedCompressionParameters(
                group_size_fallback_mode=fallback
            ),
        }
    for part in parts:
        if (work.folder / part).is_file():
            graph = ov.Core().read_model(work.folder / part)
            replace_graph(work.folder / part, nncf.compress_weights(graph, **options))


def _int8(work: Work) -> EngineWeights:
    _compress("INT8_ASYM", _PARTS, work)
    return msgspec.structs.replace(work.weights, precision="int8")


def _int4(work: Work) -> EngineWeights:
    _compress("INT4_SYM", (LANGUAGE_MODEL,), work)
    vision = work.weights.vision_precision or work.weights.precision
    return msgspec.structs.replace(work.weights, precision="int4", vision_precision=vision)


def _static_tower(work: Work) -> EngineWeights:
    from silkline.engines.openvino.export.towers import (  # noqa: PLC0415 - heavy
        replace_graph,
        static_tower,
    )
    from silkline.engines.openvino.images import ClipPreprocessor  # noqa: PLC0415 - needs numpy

    steps = read_preprocessing(read_document(work.folder / _IMAGES, _IMAGES))
    if steps is None:
        raise AssertionError("checked by `applies`")
    preprocessor = ClipPreprocessor(steps)
    pixels = [preprocessor.pixels([image]) for image in work.images]
    replace_graph(work.folder / _TOWER, static_tower(work.folder / _TOWER, pixels))
    return msgspec.structs.replace(work.weights, vision_precision="int8 static")


def _kv(precision: Literal["u8", "f16"], work: Work) -> EngineWeights:
    return msgspec.structs.replace(work.weights, kv_precision=precision)


def _of_nncf(
    name: str,
    about: str,
    applies: Callable[[Bundle], str],
    apply: Callable[[Work], EngineWeights],
    *,
    needs_images: bool = False,
) -> Optimisation:
    libraries = ("nncf", "openvino")
    return Optimisation(name, about, _ENGINE, applies, apply, libraries, needs_images)


WEIGHTS_INT8 = _of_nncf(
    "weights-int8", "all weights in INT8, a scale per channel", _of_exact_weights, _int8
)
DECODER_INT4 = _of_nncf(
    "decoder-int4",
    f"the decoder's weights in INT4, a scale per {_GROUP} weights",
    _of_exact_weights,
    _int4,
)
VISION_STATIC = _of_nncf(
    "vision-int8-static",
    "the vision tower's weights and activations in INT8, calibrated on your images",
    _of_exact_tower,
    _static_tower,
    needs_images=True,
)
KV_U8 = Optimisation(
    "kv-u8", "the KV cache in 8 bits", _ENGINE, partial(_kv_differs, "u8"), partial(_kv, "u8")
)
KV_F16 = Optimisation(
    "kv-f16", "the KV cache in 16 bits", _ENGINE, partial(_kv_differs, "f16"), partial(_kv, "f16")
)
