"""Collects what a baseline is taken of: a server's request history, or the answers to a set."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from silkline.core import Sampling
from silkline.drift.features import Observed, Output
from silkline.errors import SilklineError
from silkline.evaluate.item import Item
from silkline.ingress.identity import Identity
from silkline.service.local import create_intake, open_answering
from silkline.service.record import RequestRecord
from silkline.service.subject import SubjectSpec, question_about, source_of

Get = Callable[[str], Awaitable[dict[str, Any]]]
"""Gets a path of the admin API."""

OnCount = Callable[[int, int], None]
"""Called with what is done, and how much there is."""

_PAGE = 500
_MAX_CONTENTS = 5_000
"""Requests whose kept answers are read."""

_COMPUTED = frozenset({"miss", "bypass"})
_OK = 200


async def from_history(get: Get, since: str, on_count: OnCount) -> dict[str, list[Observed]]:
    """Returns the computed answers of a server's request history, oldest first, by model.

    Args:
        get: Gets a path of the server's admin API.
        since: From when on, as the API takes it, such as `7d`.
        on_count: Called after each page and each answer.

    Raises:
        SilklineError: What `get` raises.
    """
    entries = [entry async for entry in _entries(get, since)]
    entries.reverse()
    texts: dict[int, str] = {}
    kept = [index for index, entry in enumerate(entries) if entry["content"]][-_MAX_CONTENTS:]
    for done, index in enumerate(kept, 1):
        content = await get(f"/admin/requests/{quote(entries[index]['id'], safe='')}/content")
        if content["answers"]:
            texts[index] = content["answers"][0]["text"]
        on_count(done, len(kept))
    found: dict[str, list[Observed]] = defaultdict(list)
    for index, entry in enumerate(entries):
        found[entry["model"].partition("@")[0]].append(_observed(entry, texts.get(index)))
    return found


async def _entries(get: Get, since: str) -> Any:
    path = f"/admin/requests?since={quote(since, safe='')}&limit={_PAGE}"
    cursor = ""
    while True:
        page = await get(path + cursor)
        for entry in page["requests"]:
            if _counts(entry):
                yield entry
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"


def _counts(entry: Mapping[str, Any]) -> bool:
    """Whether an engine computed one answer for a request."""
    return (
        entry["status"] == _OK
        and not entry["error"]
        and entry["cache"] in _COMPUTED
        and entry["asked"] is not None
        and len(entry["finish"]) == 1
    )


def _observed(entry: Mapping[str, Any], text: str | None) -> Observed:
    output = Output(entry["usage"]["completion_tokens"], entry["finish"][0], text)
    images = tuple(map(_identity, entry["images"]))
    return Observed(images, entry["asked"]["characters"], (output,))


def _identity(facts: Mapping[str, Any]) -> Identity:
    perceptual = int(facts["perceptual"], 16) if facts["perceptual"] else None
    rest = (facts[name] for name in ("width", "height", "file_format", "brightness"))
    return Identity(facts["digest"], facts["original_pixels"], perceptual, *rest)


async def from_items(
    items: Sequence[Item], spec: SubjectSpec, on_count: OnCount
) -> tuple[str, list[Observed]]:
    """Asks a server each item of a set, and returns the name of its model and the answers.

    Args:
        items: The items.
        spec: The server, with the settings by which images are loaded here.
        on_count: Called after each answer.

    Raises:
        ConfigError, EnvironmentFault: The server does not respond.
        SilklineError: An item gets no answer.
    """
    settings = spec.settings
    async with (
        create_intake(settings) as intake,
        open_answering(settings, intake, lambda _: None) as answering,
    ):
        seen: list[Observed | None] = [None] * len(items)
        rest = iter(enumerate(items))

        async def work() -> None:
            for index, item in rest:  # an iterator shared by all workers
                record = RequestRecord(id=f"baseline-{index}")
                source = await asyncio.to_thread(
                    source_of, item.image, settings.limits.max_image_bytes
                )
                question = question_about(item, source, Sampling(max_tokens=spec.max_tokens))
                answer = await answering.answer(question, record)
                output = Output(
                    answer.usage.completion_tokens, answer.finish_reason.value, answer.text
                )
                seen[index] = Observed(record.details.images, question.characters, (output,))
                on_count(sum(one is not None for one in seen), len(items))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.engine.max_batch):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise _first(failures) from failures
        return answering.models.default.info.model, [one for one in seen if one is not None]


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    found: Iterator[Exception] = (
        error for error in failures.exceptions if isinstance(error, SilklineError)
    )
    return next(found, failures.exceptions[0])
