"""What an engine can tell of how it reads a request, for the preprocessing contract.

An engine that can be probed has a method `prober`. It tells what it sees as far as it can: what it
cannot tell is None, and why stands beside it. Only `silkline evaluate --contract` asks for it; no
request of a client comes this way.
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
    """What an engine made of one request.

    Attributes:
        pixels: What the vision tower takes, float32, all pictures and their tiles in order: a tile
            each `[n, 3, height, width]`, or a flattened patch each `[n, numbers]`.
        prompt_ids: The whole prompt's token ids; every place that a picture's feature fills holds
            the model's image token.
        usage: What the engine bills for the prompt; its image tokens are 0 where it does not say.
        logits: Of the first token of the answer, float32 `[vocabulary]`.
        likeliest: Natural log-probabilities of the likeliest first tokens by their text, where
            the logits are not told.
        served: The text of an answer of one token, as `Engine.generate` gives it.
        hidden: Why a field that is None is None, by the field's name.
    """

    pixels: NDArray[np.float32] | None = None
    prompt_ids: tuple[int, ...] | None = None
    usage: Usage | None = None
    logits: NDArray[np.float32] | None = None
    likeliest: Mapping[str, float] | None = None
    served: str | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)


class Prober(Protocol):
    """Shows what a started engine makes of requests, one at a time."""

    async def show(self, request: Request) -> Showing:
        """What the engine makes of a request.

        Raises:
            SilklineError: What `Engine.generate` raises for it.
        """

    async def aclose(self) -> None:
        """Frees what showing takes beside the engine itself. Closing twice is as once."""


@runtime_checkable
class Probed(Protocol):
    """An engine that can be probed."""

    async def prober(self) -> Prober:
        """Opens what showing takes; the engine must have started, and stay open meanwhile.

        Raises:
            EnvironmentFault: Something is missing for it.
        """
