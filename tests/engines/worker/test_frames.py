"""Frames, however their bytes are cut."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.engines.worker.frames import (
    KEPT_BUFFER_BYTES,
    MAX_BODY_BYTES,
    BrokenFrame,
    FrameBuffer,
    Kind,
)

FRAME = st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=300))


def wired(frames: list[tuple[Kind, int, bytes]]) -> bytes:
    return b"".join(
        struct.pack("<IBI", len(body), kind, call) + body for kind, call, body in frames
    )


def fed(buffer: FrameBuffer, sent: bytes, dice: random.Random) -> list[tuple[Kind, int, bytes]]:
    """What comes of bytes that arrive in pieces."""
    came = []
    while sent:
        space = buffer.space()
        received = min(len(space), len(sent), dice.choice([1, 7, 9, 1000, 10**9]))
        assert received
        space[:received] = sent[:received]
        came += [(kind, call, bytes(body)) for kind, call, body in buffer.frames(received)]
        sent = sent[received:]
    return came


@given(st.lists(FRAME, max_size=20), st.randoms(use_true_random=False))
def test_frames_come_out_as_they_went_in(
    frames: list[tuple[Kind, int, bytes]], dice: random.Random
) -> None:
    assert fed(FrameBuffer(), wired(frames), dice) == frames


def test_large_frames_pass_and_their_room_is_given_back() -> None:
    dice = random.Random(1)
    buffer = FrameBuffer()
    for size in (100_000, KEPT_BUFFER_BYTES - 9, KEPT_BUFFER_BYTES + 5_000_000, 3):
        frames = [(Kind.ANSWER, 1, dice.randbytes(size)), (Kind.CANCEL, 2, b"")]
        sent = wired(frames)
        came = fed(buffer, sent[: size // 2], random.Random(0))
        came += fed(buffer, sent[size // 2 :], random.Random(0))
        assert came == frames
    assert len(buffer.space()) <= KEPT_BUFFER_BYTES


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<IBI", 0, 0, 1),
        struct.pack("<IBI", 0, 99, 1),
        struct.pack("<IBI", MAX_BODY_BYTES + 1, Kind.ANSWER, 1),
    ],
)
def test_what_is_no_frame_is_told_at_once(header: bytes) -> None:
    with pytest.raises(BrokenFrame):
        fed(FrameBuffer(), header, random.Random(0))
