"""Optimisations that leave a prompt fewer image tokens, for the engines openvino and torch.

Each names the percentage of tokens that stay. Of methods of equal percentage the downsampled image
and the randomly drawn tokens are the baselines: a method that answers worse than they do is of no
use. The heavy libraries are imported when an optimisation is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from silkline.engines.torch.support import CELL_MODEL_TYPES, PACKED, torch_path
from silkline.errors import ConfigError
from silkline.models.bundle import Bundle, EngineWeights
from silkline.models.families import token_rule
from silkline.models.pruning import Method, Pruning
from silkline.models.token_rules import read_documents
from silkline.models.weights import VISION_TOWER
from silkline.optimize.downsampling import downsample_openvino, downsample_torch, not_downsampled
from silkline.optimize.optimisation import Optimisation, Work

OPENVINO, TORCH = "openvino", "torch"

_TOKENS = frozenset({"image tokens"})
_LAST = 1
"""What measures or rounds the tower comes before."""

PERCENTAGES = (75, 50, 25)
"""How many of 100 image tokens stay."""

_ABOUT = {
    Method.DIVPRUNE: "chosen to differ from one another",
    Method.CDPRUNER: "chosen to differ and to be about the prompt",
    Method.ADAPTIVE: "chosen to differ and, in plain images, to be about the prompt",
    Method.MERGE: "the most similar ones averaged",
    Method.RANDOM: "drawn at random: a baseline",
}


def _not_pruned(engine: str, bundle: Bundle) -> str:
    """Why image tokens cannot be pruned; empty if they can."""
    entry = bundle.manifest.engines[engine]
    if entry.pruning is not None:
        return f"its image tokens are pruned already, by {entry.pruning.method}"
    files = read_documents(bundle.weights(engine))
    if token_rule(files) is None:
        return "how many tokens an image takes is not known for its family"
    if engine == TORCH:
        return "" if torch_path(files) == PACKED else "its family has no adapter (docs/torch.md)"
    if files.config.text("model_type") != "llava":
        return "the engine openvino itself makes the prompts of LLaVA layouts only"
    return ""


def _graft(pruning: Pruning, work: Work) -> EngineWeights:
    import openvino as ov  # noqa: PLC0415 - heavy

    from silkline.engines.openvino.export.pruning import add_pruning  # noqa: PLC0415 - heavy
    from silkline.engines.openvino.export.towers import replace_graph  # noqa: PLC0415 - heavy

    path = work.folder / VISION_TOWER
    tower = ov.Core().read_model(path)
    add_pruning(tower, pruning)
    replace_graph(path, tower)
    return msgspec.structs.replace(work.weights, pruning=pruning)


def _state(pruning: Pruning, work: Work) -> EngineWeights:
    """The engine torch prunes by what the manifest states."""
    files = read_documents(work.folder)
    rule = token_rule(files)
    if rule is None:
        raise AssertionError("checked by `applies`")
    maximum = rule.maximum()
    if pruning.count(maximum) == maximum:
        raise ConfigError(
            f"Of {maximum.features} features of an image, a share of {pruning.keep:g} keeps all. "
            "Keep less."
        )
    return msgspec.structs.replace(work.weights, pruning=pruning)


def pruning_optimisation(engine: str, pruning: Pruning) -> Optimisation:
    """An optimisation for one engine, method and share.

    Args:
        engine: "openvino" or "torch".
        pruning: The method and the share of tokens that stay.
    """
    apply = _graft if engine == OPENVINO else _state
    about = f"{pruning.keep:.3g} of the image tokens, {_ABOUT[pruning.method]}"
    applies = partial(_not_pruned, engine)
    name = _name(engine, pruning.keep, pruning.method)
    return Optimisation(
        name, about, engine, applies, partial(apply, pruning), (engine,), parts=_TOKENS, order=_LAST
    )


def downsampling_optimisation(engine: str, keep: float) -> Optimisation:
    """Images of fewer patches, which is the baseline of pruning, for one engine and share.

    Args:
        engine: "openvino" or "torch".
        keep: Share of the patches that stay, above 0 and below 1; the nearest square is taken.
    """
    apply: Callable[[float, Work], EngineWeights]
    apply, libraries = (
        (downsample_openvino, (OPENVINO,))
        if engine == OPENVINO
        else (downsample_torch, (TORCH, "safetensors"))
    )
    return Optimisation(
        _name(engine, keep, "downsample"),
        f"images scaled down to about {keep:.3g} of the tokens: a baseline",
        engine,
        partial(not_downsampled, engine),
        partial(apply, keep),
        libraries,
        parts=_TOKENS,
        order=_LAST,
    )


def _name(engine: str, keep: float, method: str) -> str:
    prefix = "" if engine == OPENVINO else f"{engine}-"
    return f"{prefix}tokens-{100 * keep:.3g}-{method}"


def _has_cells(bundle: Bundle) -> str:
    """Why repeated cells cannot be dropped; empty if they can."""
    if bundle.manifest.engines[TORCH].drops_duplicates:
        return "it drops repeated cells already"
    model_type = read_documents(bundle.weights(TORCH)).config.text("model_type")
    known = ", ".join(sorted(CELL_MODEL_TYPES))
    return "" if model_type in CELL_MODEL_TYPES else f"only the towers of {known} allow it"


def _drop_duplicates(work: Work) -> EngineWeights:
    return msgspec.structs.replace(work.weights, drops_duplicates=True)


DROP_DUPLICATES = Optimisation(
    "torch-drop-duplicates",
    "parts of an image that repeat their neighbour are dropped before the vision tower; lossless",
    TORCH,
    _has_cells,
    _drop_duplicates,
    (TORCH,),
)

ALL: tuple[Optimisation, ...] = (
    DROP_DUPLICATES,
    *(
        each
        for engine in (OPENVINO, TORCH)
        for percentage in PERCENTAGES
        for each in (
            *(pruning_optimisation(engine, Pruning(method, percentage / 100)) for method in Method),
            downsampling_optimisation(engine, percentage / 100),
        )
    ),
)
"""What `silkline optimize` offers."""
