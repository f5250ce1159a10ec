"""Which arm of an experiment a unit belongs to: a salted hash, the same on every gateway."""

from __future__ import annotations

from enum import Enum
from functools import cache
from hashlib import blake2b

from silkline.config.experiments import ExperimentSettings

_BYTES = 8
_ALL = float(1 << (8 * _BYTES))


class Arm(Enum):
    """The arms of an experiment, and what is outside of it."""

    CONTROL = "control"
    CANDIDATE = "candidate"
    OUTSIDE = "outside"


def arm_of(experiment: str, unit: bytes, share: float) -> Arm:
    """Returns the arm of a unit.

    The candidate's share is at one end of the hash's range and an equal share for the control at
    the other end. So when the share rises, no unit of an arm goes to another arm.

    Args:
        experiment: The experiment's name, the salt: experiments assign independently.
        unit: The user, tenant, image or request.
        share: The candidate's share, from above 0 to 0.5.
    """
    found = position(experiment, unit)
    if found < share:
        return Arm.CANDIDATE
    return Arm.CONTROL if found >= 1 - share else Arm.OUTSIDE


def takes_part(experiment: str, unit: bytes, settings: ExperimentSettings) -> bool:
    """Whether a unit is in an experiment's part of its layer.

    Args:
        experiment: The experiment's name.
        unit: The unit.
        settings: The experiment.
    """
    low, high = settings.traffic
    if (low, high) == (0.0, 1.0):
        return True
    return low <= position(f"layer {settings.layer or experiment}", unit) < high


def position(salt: str, unit: bytes) -> float:
    """Where a unit is in the range from 0 to 1; positions by several salts are independent."""
    digest = blake2b(unit, digest_size=_BYTES, person=_person(salt)).digest()
    return int.from_bytes(digest) / _ALL


@cache
def _person(salt: str) -> bytes:
    return blake2b(salt.encode(), digest_size=blake2b.PERSON_SIZE).digest()
