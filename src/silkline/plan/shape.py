"""What a plan must know of a model: parameters by part, KV cache, and the tokens of an image."""

from __future__ import annotations

import msgspec

from silkline.errors import ConfigError
from silkline.models.inspection import Inspection
from silkline.models.weights import Part

_VISION = (Part.VISION, Part.PROJECTOR)
_LANGUAGE = (Part.LANGUAGE, Part.EMBEDDINGS, Part.OTHER)


class Shape(msgspec.Struct, frozen=True):
    """A model, as far as its speed and its memory depend on it.

    Attributes:
        name: What the user calls it.
        vision: Parameters of vision tower and projector.
        decoder: Parameters of the decoder, embeddings included.
        layers: Layers of the decoder.
        width: Query heads times their width.
        kv_bytes: Bytes of a token in the KV cache, in 16 bits.
        image_tokens: Tokens of an image of the workload's size.
    """

    name: str
    vision: int
    decoder: int
    layers: int
    width: int
    kv_bytes: int
    image_tokens: int

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.vision + self.decoder


def shape_of(found: Inspection, parameters: int = 0, vision: int = 0) -> Shape:
    """Returns what a plan needs of an inspected model.

    Args:
        found: The inspection, with the tokens of one size of image.
        parameters: All parameters, for a folder without weights; 0 counts them in the files.
        vision: Of these, those of the vision tower and projector.

    Raises:
        ConfigError: The files do not tell the decoder's shape, its parameters or its image tokens.
    """
    decoder, images = found.decoder, found.image_tokens
    if decoder is None or images is None or not images.images:
        raise ConfigError(
            f"The files of {found.model} do not tell its decoder's shape and how many tokens an "
            "image takes, so it cannot be planned for. See: silkline inspect MODEL."
        )
    image = images.images[0]
    if image.refused:
        raise ConfigError(
            f"{found.model} takes no image of {image.width}x{image.height}: {image.refused}"
        )
    counts = found.weights.parameters
    if parameters:
        counts = {Part.VISION: vision, Part.LANGUAGE: parameters - vision}
    if not counts or (found.quantization and not parameters):
        raise ConfigError(
            f"The files of {found.model} do not tell its parameters. Say them: --parameters 7.06B "
            "--vision-parameters 0.3B."
        )
    return Shape(
        name=found.model,
        vision=sum(counts.get(part, 0) for part in _VISION),
        decoder=sum(counts.get(part, 0) for part in _LANGUAGE),
        layers=decoder.layers,
        width=decoder.heads * decoder.head_dim,
        kv_bytes=decoder.kv_bytes_per_token("bfloat16"),
        image_tokens=image.total,
    )
