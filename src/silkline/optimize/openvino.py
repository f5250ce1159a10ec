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
from silkline.models.weights import LANGUAGE_MODEL, VISION_TOWER
from silkline.optimize.exact import EXACT
from silkline.optimize.optimisation import Optimisation, Work

_ENGINE = "openvino"
_EMBEDDINGS = "openvino_text_embeddings_model.xml"
_PARTS = (LANGUAGE_MODEL, _EMBEDDINGS, VISION_TOWER)
_GROUP = 64
"""Weights that share a scale in INT4, where the layer's width allows it."""

_IMAGES = "preprocessor_config.json"


def _of_exact_weights(bundle: Bundle) -> str:
    """Why weights cannot be compressed; empty if they can."""
    entry = bundle.manifest.engines[_ENGINE]
    if entry.precision not in EXACT:
        return f"its weights are {entry.precision} already; start from a bundle of fp16"
    return ""


def _of_tower_weights(bundle: Bundle) -> str:
    """Why the vision tower's weights cannot be compressed; empty if they can."""
    entry = bundle.manifest.engines[_ENGINE]
    precision = entry.vision_precision or entry.precision
    if precision not in EXACT:
        return f"its vision tower is {precision} already; start from a bundle of fp16"
    if not (bundle.weights(_ENGINE) / VISION_TOWER).is_file():
        return "it has no vision tower of its own"
    return ""


def _of_exact_tower(bundle: Bundle) -> str:
    from silkline.engines.openvino.images import ClipPreprocessor  # noqa: PLC0415 - needs numpy

    if why := _of_tower_weights(bundle):
        return why
    if bundle.manifest.engines[_ENGINE].pruning is not None:
        return "its image tokens are pruned already; apply this before"
    folder = bundle.weights(_ENGINE)
    steps = read_preprocessing(read_document(folder / _IMAGES, _IMAGES))
    if not ClipPreprocessor.supported(steps):
        return "its images are not preprocessed by the engine, so they cannot calibrate it"
    return ""


def _kv_differs(precision: str, bundle: Bundle) -> str:
    entry = bundle.manifest.engines[_ENGINE]
    return f"its KV cache is {precision} already" if entry.kv_precision == precision else ""


def _of_calibrated_weights(bundle: Bundle) -> str:
    """Why the decoder cannot be calibrated with questions; empty if it can."""
    from silkline.optimize.openvino_inputs import embeds  # noqa: PLC0415 - heavy

    if why := _of_exact_weights(bundle):
        return why
    if not embeds(bundle.weights(_ENGINE)):
        return "its prompts are not embedded by the engine, so they cannot calibrate it"
    return ""


def _int4_options() -> dict[str, Any]:
    import nncf  # noqa: PLC0415 - heavy

    return {
        "mode": nncf.CompressWeightsMode.INT4_SYM,
        "group_size": _GROUP,
        "advanced_parameters": nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
        ),
    }


def _compress(parts: tuple[str, ...], work: Work, **options: Any) -> None:
    """Compresses the weights of graphs; in 8 bits without options."""
    import nncf  # noqa: PLC0415 - heavy
    import openvino as ov  # noqa: PLC0415 - heavy

    from silkline.engines.openvino.export.towers import replace_graph  # noqa: PLC0415 - heavy

    options = options or {"mode": nncf.CompressWeightsMode.INT8_ASYM}
    for part in parts:
        if (work.folder / part).is_file():
            graph = ov.Core().read_model(work.folder / part)
            replace_graph(work.folder / part, nncf.compress_weights(graph, **options))


def _int8(work: Work) -> EngineWeights:
    _compress(_PARTS, work)
    return msgspec.structs.replace(work.weights, precision="int8")


def _embeddings_int8(work: Work) -> EngineWeights:
    _compress((_EMBEDDINGS,), work)
    return work.weights


def _vision_int8(work: Work) -> EngineWeights:
    _compress((VISION_TOWER,), work)
    return msgspec.structs.replace(work.weights, vision_precision="int8")


def _decoder_int8(work: Work) -> EngineWeights:
    _compress((LANGUAGE_MODEL,), work)
    return _with_decoder(work, "int8")


def _int4(work: Work) -> EngineWeights:
    _compress((LANGUAGE_MODEL,), work, **_int4_options())
    return _with_decoder(work, "int4")


def _with_decoder(work: Work, precision: str) -> EngineWeights:
    vision = work.weights.vision_precision or work.weights.precision
    return msgspec.structs.replace(work.weights, precision=precision, vision_precision=vision)


def _calibrated(method: Literal["awq", "gptq"], work: Work, *, with_images: bool) -> EngineWeights:
    """INT4 weights that fit the activations which the calibration's questions cause."""
    import nncf  # noqa: PLC0415 - heavy

    from silkline.optimize.openvino_inputs import decoder_inputs  # noqa: PLC0415 - heavy

    found = decoder_inputs(work, with_images=with_images)
    own = {"awq": True, "scale_estimation": True} if method == "awq" else {"gptq": True}
    dataset = nncf.Dataset([inputs for inputs, _ in found])
    options = _int4_options() | own | {"dataset": dataset, "subset_size": len(found)}
    _compress((LANGUAGE_MODEL,), work, **options)
    return _with_decoder(work, "int4")


def _mixed(share: float, work: Work) -> EngineWeights:
    """INT4 weights, but the most sensitive layers in 8 bits."""
    import nncf  # noqa: PLC0415 - heavy

    from silkline.optimize.openvino_inputs import decoder_inputs  # noqa: PLC0415 - heavy
    from silkline.optimize.sensitivity import sensitivity, to_keep  # noqa: PLC0415 - heavy

    inputs = decoder_inputs(work, with_images=True)
    layers = sensitivity(work.folder / LANGUAGE_MODEL, inputs, _int4_options())
    kept = to_keep(layers, share)
    names = [node for layer in kept for node in layer.nodes]
    ignored = nncf.IgnoredScope(names=names)
    _compress((LANGUAGE_MODEL,), work, **_int4_options(), ignored_scope=ignored)
    _compress((LANGUAGE_MODEL,), work)  # what is left
    work.findings["sensitivity"] = [
        {"layer": each.layer, "divergence": each.divergence, "kept": each in kept}
        for each in layers
    ]
    return _with_decoder(work, "int4")


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
    replace_graph(work.folder / VISION_TOWER, static_tower(work.folder / VISION_TOWER, pixels))
    return msgspec.structs.replace(work.weights, vision_precision="int8 static")


def _kv(precision: Literal["u8", "f16"], work: Work) -> EngineWeights:
    return msgspec.structs.replace(work.weights, kv_precision=precision)


_LIBRARIES = ("nncf", "openvino")
_VISION, _DECODER, _EMBEDDING, _CACHE = map(
    frozenset, (["vision"], ["decoder"], ["embeddings"], ["kv"])
)

WEIGHTS_INT8 = Optimisation(
    "weights-int8", "all weights in INT8, a scale per channel", _ENGINE, _of_exact_weights, _int8,
    _LIBRARIES, parts=_VISION | _DECODER | _EMBEDDING,
)  # fmt: skip
EMBEDDINGS_INT8 = Optimisation(
    "embeddings-int8", "the token embeddings in INT8, a scale per token", _ENGINE,
    _of_exact_weights, _embeddings_int8, _LIBRARIES, parts=_EMBEDDING,
)  # fmt: skip
DECODER_INT8 = Optimisation(
    "decoder-int8", "the decoder's weights in INT8, a scale per channel", _ENGINE,
    _of_exact_weights, _decoder_int8, _LIBRARIES, parts=_DECODER,
)  # fmt: skip
DECODER_INT4 = Optimisation(
    "decoder-int4", f"the decoder's weights in INT4, a scale per {_GROUP} weights", _ENGINE,
    _of_exact_weights, _int4, _LIBRARIES, parts=_DECODER,
)  # fmt: skip


def _of_decoder(name: str, about: str, apply: Callable[[Work], EngineWeights]) -> Optimisation:
    return Optimisation(
        name, f"the decoder's weights in INT4, {about}", _ENGINE, _of_calibrated_weights, apply,
        _LIBRARIES, needs_samples=True, parts=_DECODER,
    )  # fmt: skip


DECODER_INT4_AWQ = _of_decoder(
    "decoder-int4-awq",
    "by AWQ and scale estimation, calibrated on your images with their questions",
    partial(_calibrated, "awq", with_images=True),
)
DECODER_INT4_AWQ_TEXT = _of_decoder(
    "decoder-int4-awq-text",
    "by AWQ and scale estimation, calibrated on your questions without their images",
    partial(_calibrated, "awq", with_images=False),
)
DECODER_INT4_GPTQ = _of_decoder(
    "decoder-int4-gptq",
    "by GPTQ, calibrated on your images with their questions",
    partial(_calibrated, "gptq", with_images=True),
)
DECODER_INT4_KEEP10 = _of_decoder(
    "decoder-int4-keep10",
    "the most sensitive layers, a tenth of the weights, in INT8",
    partial(_mixed, 0.1),
)
DECODER_INT4_KEEP25 = _of_decoder(
    "decoder-int4-keep25",
    "the most sensitive layers, a quarter of the weights, in INT8",
    partial(_mixed, 0.25),
)
DECODER_INT4_KEEP50 = _of_decoder(
    "decoder-int4-keep50",
    "the most sensitive layers, half of the weights, in INT8",
    partial(_mixed, 0.5),
)
VISION_INT8 = Optimisation(
    "vision-int8", "the vision tower's weights in INT8, a scale per channel", _ENGINE,
    _of_tower_weights, _vision_int8, _LIBRARIES, parts=_VISION,
)  # fmt: skip
VISION_STATIC = Optimisation(
    "vision-int8-static",
    "the vision tower's weights and activations in INT8, calibrated on your images", _ENGINE,
    _of_exact_tower, _static_tower, _LIBRARIES, needs_images=True, parts=_VISION,
)  # fmt: skip
KV_U8 = Optimisation(
    "kv-u8", "the KV cache in 8 bits", _ENGINE, partial(_kv_differs, "u8"), partial(_kv, "u8"),
    parts=_CACHE,
)  # fmt: skip
KV_F16 = Optimisation(
    "kv-f16", "the KV cache in 16 bits", _ENGINE, partial(_kv_differs, "f16"), partial(_kv, "f16"),
    parts=_CACHE,
)  # fmt: skip
