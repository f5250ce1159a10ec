"""Questions of a batch on actors, with actors of this process in the place of Ray's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from silkline.batch import on_ray
from silkline.batch.inputs import Asked
from silkline.batch.on_ray import AskerActor, RayAskers, open_askers_on_ray
from silkline.errors import ConfigError
from silkline.ingress.source import parse_base64, parse_url, uploaded
from silkline.service.ray import cluster
from silkline.service.subject import SubjectSpec, parse_subject
from tests.batch.images import png


def subject(*options: str) -> SubjectSpec:
    text = " ".join(["silkline-fake", "engine=fake", "on=ray", *options])
    return parse_subject(text, None, {}, 16)


class Call:
    """A method of an actor's handle."""

    def __init__(self, call: Any) -> None:
        self.remote = call


class FakeActor:
    """The handle of an actor that answers with its name and what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.starts = 0
        self.fault: tuple[str, str] | None = None
        self.asked: list[bytes | str] = []
        self.most = self.running = 0

    def __getattr__(self, name: str) -> Call:
        return Call(getattr(self, f"_{name}"))

    async def _start(self) -> tuple[str, str] | None:
        self._check()
        self.starts += 1
        return self.fault

    async def _ask(self, data: bytes | str, prompt: str) -> tuple[bytes, str, bool]:
        self._check()
        self.asked.append(data)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        self._check()
        return f"{self.name} {prompt}".encode(), "", False

    async def _close(self) -> None:
        self.alive = False

    def _check(self) -> None:
        if not self.alive:
            raise RuntimeError("the actor is gone")


async def connected(address: str) -> None:
    """Does nothing: there is no cluster."""


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> list[FakeActor]:
    made: list[FakeActor] = []

    def create(spec: SubjectSpec, at_once: int) -> FakeActor:
        made.append(FakeActor(f"actor {len(made)}"))
        return made[-1]

    monkeypatch.setattr(cluster, "connect", connected)
    monkeypatch.setattr(cluster, "kill", lambda actor: None)
    monkeypatch.setattr(on_ray, "_create", create)
    monkeypatch.setattr(on_ray, "_PAUSE_SECONDS", 0.05)
    return made


def asked(number: int) -> Asked:
    return Asked(uploaded(png(number), param="image"), f"question {number}")


async def test_the_actors_share_the_questions(actors: list[FakeActor]) -> None:
    async with open_askers_on_ray(subject("workers=3", "max_batch=4")) as askers:
        assert askers.at_once == 12
        await asyncio.sleep(0.05)
        results = await asyncio.gather(*(askers.ask(asked(number)) for number in range(12)))
    assert [actor.most for actor in actors] == [4, 4, 4]
    assert {result.content.split()[-1] for result in results} == {
        str(number).encode() for number in range(12)
    }
    assert not any(actor.alive for actor in actors)


async def test_images_go_as_bytes_and_urls_as_urls(actors: list[FakeActor]) -> None:
    url = "https://images.example/a%20b.png?size=1&x=%2F"
    async with open_askers_on_ray(subject()) as askers:
        for source in (
            uploaded(b"abc", param="image"),
            parse_base64("YWJj", param="image"),
            parse_url("data:image/png;base64,YWJj", param="image"),
            parse_url("data:image/png,a%62c", param="image"),
            parse_url(url, param="image"),
        ):
            assert not (await askers.ask(Asked(source, "What?"))).error
        wrong = await askers.ask(Asked(parse_base64("!", param="image"), "What?"))
    assert actors[0].asked == [b"abc", b"abc", b"abc", b"abc", url]
    assert wrong.error == "invalid_request"
    assert not wrong.transient


async def test_a_lost_actor_loses_no_question(actors: list[FakeActor]) -> None:
    async with open_askers_on_ray(subject("workers=2")) as askers:
        await asyncio.sleep(0.05)
        asking = [asyncio.create_task(askers.ask(asked(number))) for number in range(4)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.005)
        actors[0].alive = False
        results = [await task for task in asking]
        lost = [result for result in results if result.error]
        assert {(result.error, result.transient) for result in lost} == {("worker_lost", True)}
        assert 0 < len(lost) < 4
        again = await asyncio.gather(*(askers.ask(asked(number)) for number in range(4)))
        assert [result.error for result in again] == [""] * 4
        actors[0].alive = True
        await asyncio.sleep(0.2)
        assert actors[0].starts == 2
        before = len(actors[0].asked)
        await asyncio.gather(*(askers.ask(asked(number)) for number in range(4)))
        assert len(actors[0].asked) == before + 2


async def test_questions_wait_while_all_actors_are_lost(actors: list[FakeActor]) -> None:
    async with open_askers_on_ray(subject()) as askers:
        actors[0].alive = False
        assert (await askers.ask(asked(0))).transient
        waits = asyncio.create_task(askers.ask(asked(0)))
        await asyncio.sleep(0.1)
        assert not waits.done()
        actors[0].alive = True
        assert not (await waits).error


async def test_a_model_that_does_not_start_is_an_error(
    actors: list[FakeActor], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(actor: FakeActor) -> tuple[str, str]:
        return "config", "There is no such model."

    monkeypatch.setattr(FakeActor, "_start", fails)
    with pytest.raises(ConfigError, match="There is no such model"):
        async with open_askers_on_ray(subject()):
            pass


@pytest.mark.slow
async def test_an_actor_asks_as_one_machine_does(tmp_path: Path) -> None:
    spec = subject("workers=8", "worker_resources=CPU=2")
    actor = AskerActor(on_ray.plain(spec))
    assert await actor.start() is None
    content, error, transient = await actor.ask(png(3), "What is it?")
    assert (error, transient) == ("", False)
    assert b'"answer":' in content
    assert (await actor.ask(b"no image", "What is it?"))[1] == "image_format"
    await actor.close()
    wrong = AskerActor(on_ray.plain(subject("engine_options=mode=shout")))
    fault = await wrong.start()
    assert fault is not None
    assert fault[0] == "config"
    assert "shout" in fault[1] or "mode" in fault[1]


def test_askers_are_as_many_as_the_workers() -> None:
    assert RayAskers(subject("workers=5", "max_batch=2")).at_once == 10
