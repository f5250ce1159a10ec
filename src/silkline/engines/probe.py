"""Exposes how an engine preprocesses a request, for the preprocessing contract.

An engine that can be probed has a method `prober`. A probe shows as much as the engine can: what it
cannot show is None, with the reason. Only `silkline evaluate --contract` uses it; clients' requests
never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from silkline.core import Request, Usage

if TYPE_CHECKING:  # numpy comes with the engines' extras
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """How an engine preprocessed and answered one request.

    Attributes:
        pixels: Input of the vision tower, float32, for all images and their tiles in order: tiles
            `[n, 3, height, width]`, or flattened patches `[n, numbers]`.
        prompt_ids: Token ids of the whole prompt, with the model's image token wherever an image
            feature goes.
        usage: Token counts that the engine reports for the prompt; its image tokens are 0 if the
            engine does not report them.
        logits: Logits of the answer's first token, float32 `[vocabulary]`.
        likeliest: Natural log-probabilities of the most likely first tokens, by their text, if
            the engine does not give the logits.
        served: The text of an answer of one token, as `Engine.generate` yields it.
        hidden: Reasons why fields are None, by field name.
    """

    pixels: NDArray[np.float32] | None = None
    prompt_ids: tuple[int, ...] | None = None
    usage: Usage | None = None
    logits: NDArray[np.float32] | None = None
    likeliest: Mapping[str, float] | None = None
    served: str | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)


class Prober(Protocol):
    """Shows how a started engine handles requests, one at a time."""

    async def show(self, request: Request) -> Showing:
        """Returns how the engine preprocesses and answers a request.

        Raises:
            SilklineError: Any error that `Engine.generate` raises for it.
        """

    async def aclose(self) -> None:
        """Frees the prober's own resources, not the engine's. Idempotent."""


@runtime_checkable
class Probed(Protocol):
    """An engine that can be probed."""

    async def prober(self) -> Prober:
        """Opens a prober; the engine must have started, and must stay open until it is closed.

        Raises:
            EnvironmentFault: Something that the prober needs is missing.
        """
