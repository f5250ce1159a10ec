"""Slots that are given and given back at the same moment."""

import asyncio
import random
import time

import pytest

from silkline.routing.dispatch import Dispatch
from silkline.routing.ejection import Ejection
from silkline.routing.members import Member
from tests.routing.scripted import ScriptedReplica


def dispatch_over(*replicas: ScriptedReplica) -> tuple[Dispatch, list[Member]]:
    members = [Member(replica) for replica in replicas]
    ejection = Ejection([member.record for member in members])
    return Dispatch(members, ejection, random.Random(1)), members


async def test_who_leaves_just_when_a_seat_is_given_gives_it_back() -> None:
    dispatch, (member,) = dispatch_over(ScriptedReplica("only", limit=1))
    deadline = time.monotonic() + 10
    first = await dispatch.slot(None, deadline, avoid=None)
    leaves, stays = (
        asyncio.create_task(dispatch.slot(None, deadline, avoid=None)) for _ in range(2)
    )
    await asyncio.sleep(0)
    assert dispatch.waiting == 2
    with dispatch.held(first):
        pass
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    with dispatch.held(await stays):
        assert member.in_flight == 1
    assert member.in_flight == dispatch.waiting == 0


async def test_a_trial_is_given_first_but_to_nobody_who_avoids_it() -> None:
    dispatch, (ejected, other) = dispatch_over(ScriptedReplica("a"), ScriptedReplica("b"))
    ejected.record.eject()
    deadline = time.monotonic() + 10
    assert (await dispatch.slot(None, deadline, avoid=None)).member is other
    ejected.record._until = 0.0
    assert (await dispatch.slot(None, deadline, avoid=ejected)).member is other
    trial = await dispatch.slot("picture", deadline, avoid=None)
    assert trial.member is ejected
    assert trial.trial
    assert (await dispatch.slot("picture", deadline, avoid=None)).member is other
    with dispatch.held(trial):
        pass
    assert (await dispatch.slot(None, deadline, avoid=other)).member is ejected


async def test_one_that_is_to_be_avoided_is_better_than_none() -> None:
    dispatch, (only,) = dispatch_over(ScriptedReplica("only"))
    slot = await dispatch.slot(None, time.monotonic() + 10, avoid=only)
    assert slot.member is only
