"""The learning curve of a training."""

from __future__ import annotations

import msgspec


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One evaluation.

    Attributes:
        step: Steps done.
        seconds: Seconds of training so far.
        train_loss: Mean loss of the steps since the last point.
        held_out_loss: Mean loss on the held-out data, with the averaged weights.
        agreement: Share of held-out answers that are the target, token for token, 0 to 1.
    """

    step: int
    seconds: float
    train_loss: float
    held_out_loss: float
    agreement: float
