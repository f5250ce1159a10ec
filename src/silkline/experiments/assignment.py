"""Which arm of an experiment a unit belongs to: a salted hash, the same on every gateway."""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b

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
    digest = blake2b(unit, digest_size=_BYTES, person=_person(experiment)).digest()
    position = int.from_bytes(digest) / _ALL
    if position < share:
        return Arm.CANDIDATE
    return Arm.CONTROL if position >= 1 - share else Arm.OUTSIDE


def _person(experiment: str) -> bytes:
    return blake2b(experiment.encode(), digest_size=blake2b.PERSON_SIZE).digest()
