"""Builds the token rule of a model from its files; defaults are those of transformers 4.57."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.documents import Document, read_document
from silkline.models.image_tokens import (
    Anyres,
    Cells,
    Fixed,
    SmartResize,
    Splitting,
    Tiling,
    TokenRule,
)

_CLASS_TOKEN = {"clip_vision_model": 1, "siglip_vision_model": 0}
"""Tokens that a vision tower puts before its patches."""

_MAX_TILES = 1000
"""Limits the work of enumerating grids; published models use 12."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The files of a model that describe image preprocessing.

    Attributes:
        config: config.json.
        image: preprocessor_config.json, or the image processor's part of processor_config.json.
        processor: processor_config.json.
    """

    config: Document
    image: Document
    processor: Document


IMAGE_DOCUMENTS = ("preprocessor_config.json", "processor_config.json")
"""The JSON files beside config.json that describe image processing."""


def read_documents(folder: Path) -> Documents:
    """Reads the files from a folder; missing files are empty.

    Raises:
        ConfigError: A file is damaged.
    """
    processor = read_document(folder / "processor_config.json", "processor_config.json")
    own = read_document(folder / "preprocessor_config.json", "preprocessor_config.json")
    return Documents(
        config=read_document(folder / "config.json", "config.json"),
        image=own or processor.section("image_processor"),
        processor=processor,
    )


def llava(files: Documents) -> TokenRule | None:
    """LLaVA-1.5: the patches of the vision tower's fixed size; None for other towers."""
    base = _patches(files.config)
    return None if base is None else Fixed(base)


def llava_next(files: Documents) -> TokenRule | None:
    """LLaVA-NeXT: the grids of `image_grid_pinpoints`."""
    base = _patches(files.config)
    if base is None:
        return None
    side, tile = _side(files.config, image=336, patch=14)
    return Anyres(base, side, tile, _grids(files, tile, _NEXT_GRIDS))


def llava_onevision(files: Documents) -> TokenRule | None:
    """LLaVA-OneVision: as LLaVA-NeXT with a limit, written "anyres_max_9" for nine tiles."""
    side, tile = _side(files.config, image=384, patch=14)
    limit = files.config.text("vision_aspect_ratio") or "anyres_max_9"
    strategy = files.config.text("vision_feature_select_strategy") or "full"
    number = limit.removeprefix("anyres_max_")
    if strategy != "full" or not number.isdecimal() or not 1 <= int(number[:9]) <= _MAX_TILES:
        return None
    steps = range(tile, 6 * tile + 1, tile)
    default = tuple((height, width) for height in steps for width in steps)
    return Anyres(side**2, side, tile, _grids(files, tile, default), int(number))


def blip_2(files: Documents) -> TokenRule:
    """BLIP-2: the number of the Q-Former's queries."""
    return Fixed(files.config.number("num_query_tokens") or 32)


def idefics_3(files: Documents) -> TokenRule:
    """Idefics3 and SmolVLM: the vision tower and the pixel shuffle set the tokens of a tile."""
    tile = files.image.section("max_image_size").number("longest_edge") or 364
    side, _ = _side(files.config, image=224, patch=32)
    shuffled = side**2 // (files.config.number("scale_factor") or 2) ** 2
    per_tile = files.processor.number("image_seq_len") or shuffled
    longest = files.image.section("size").number("longest_edge") or 4 * 364
    return Splitting(
        per_tile=per_tile,
        tile=tile,
        longest=None if files.image.flag("do_resize") is False else longest,
        splits=files.image.flag("do_image_splitting") is not False,
    )


def qwen_vl(files: Documents) -> TokenRule:
    """Qwen2-VL and Qwen2.5-VL: `min_pixels` and `max_pixels`, or the edges of `size`.

    Raises:
        ConfigError: The budget is empty.
    """
    size = files.image.section("size")
    minimum = files.image.number("min_pixels") or size.number("shortest_edge") or 56 * 56
    maximum = files.image.number("max_pixels") or size.number("longest_edge") or 28 * 28 * 1280
    patch, merge = files.image.number("patch_size") or 14, files.image.number("merge_size") or 2
    if minimum > maximum:
        raise ConfigError(
            f"{files.image.name} sets a minimum of {minimum} pixels per image, but a maximum of "
            f"{maximum}. Download the file again from where it was published."
        )
    return SmartResize(patch * merge, minimum, maximum)


def paligemma(files: Documents) -> TokenRule:
    """PaliGemma: the patches of the vision tower's fixed size."""
    side, _ = _side(files.config, image=224, patch=14)
    return Fixed(files.image.number("image_seq_length") or side**2)


def gemma_3(files: Documents) -> TokenRule | None:
    """Gemma 3: the pooled patches of a fixed size; None if pan and scan is on."""
    if files.image.flag("do_pan_and_scan"):
        return None
    return Fixed(files.config.number("mm_tokens_per_image") or 256, markers=2)


def gemma_4(files: Documents) -> TokenRule:
    """Gemma 4: as many cells of `pooling_kernel_size` patches as `max_soft_tokens` lets fit."""
    patch = files.image.number("patch_size") or 16
    pooled = files.image.number("pooling_kernel_size") or 3
    return Cells(patch * pooled, files.image.number("max_soft_tokens") or 280, markers=2)


def internvl(files: Documents) -> TokenRule | None:
    """InternVL in transformers, whose processor always cuts tiles, whatever the file says."""
    size = files.image.section("size")
    minimum, maximum = (
        files.image.number("min_patches") or 1,
        files.image.number("max_patches") or 12,
    )
    if maximum > _MAX_TILES:
        return None
    return Tiling(
        per_tile=files.processor.number("image_seq_length")
        or files.config.number("image_seq_length")
        or 256,
        tile=size.number("height") or 448,
        minimum=minimum,
        max_tiles=maximum,
    )


def internvl_chat(files: Documents) -> TokenRule | None:
    """InternVL with its authors' code: the same tiling, configured in config.json."""
    config = files.config
    side, tile = _side(config, image=448, patch=14)
    ratio = config.decimal("downsample_ratio") or 0.5
    dynamic = config.flag("dynamic_image_size") is not False
    maximum = (config.number("max_dynamic_patch") or 12) if dynamic else 1
    if maximum > _MAX_TILES or not 0 < ratio <= 1:
        return None
    return Tiling(
        per_tile=int(side**2 * ratio**2),
        tile=tile,
        minimum=(config.number("min_dynamic_patch") or 1) if dynamic else 1,
        max_tiles=maximum,
        copy=config.flag("use_thumbnail") is not False,
    )


_NEXT_GRIDS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def _patches(config: Document) -> int | None:
    """Features of an image of the tower's size; None if the tower or strategy is unknown.

    The tower may put a class token before the patches; the strategy "default" drops the first
    token.
    """
    vision = config.section("vision_config")
    first = _CLASS_TOKEN.get(vision.text("model_type") or "clip_vision_model")
    strategy = config.text("vision_feature_select_strategy") or "default"
    if first is None or strategy not in {"default", "full"}:
        return None
    side, _ = _side(config, image=336, patch=14)
    return side**2 + first - (strategy == "default")


def _side(config: Document, *, image: int, patch: int) -> tuple[int, int]:
    """Patches and pixels along a side of the vision tower's input; `image`, `patch` are defaults.

    Raises:
        ConfigError: A patch is larger than the image.
    """
    vision = config.section("vision_config")
    pixels = config.number("force_image_size") or vision.number("image_size") or image
    size = vision.number("patch_size") or patch
    if size > pixels:
        raise ConfigError(
            f"In {vision.name}, patch_size ({size}) is larger than image_size ({pixels}). Download "
            "the file again from where it was published."
        )
    return pixels // size, pixels


def _grids(
    files: Documents, tile: int, default: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    """The grids in the model's files, or the family's default.

    Raises:
        ConfigError: A grid is smaller than a tile.
    """
    name = "image_grid_pinpoints"
    grids = files.image.pairs(name) or files.config.pairs(name) or default
    if min(min(grid) for grid in grids) < tile:
        raise ConfigError(
            f"A grid of {name} is smaller than a tile of {tile} pixels. Get the model's files "
            "again from where they were published."
        )
    return grids
