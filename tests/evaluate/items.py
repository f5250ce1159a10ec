"""Items for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from silkline.evaluate.item import ImageKind, Item, ItemImage, Value
from silkline.evaluate.journal import Reply
from silkline.evaluate.subject import Subject

SUBJECT = Subject(name="m", model="m@1", engine="fake", precision="none", max_tokens=16)


def item(
    *references: str,
    name: str = "one",
    record: Mapping[str, Value] | None = None,
    choices: Sequence[str] = (),
    fields: Mapping[str, str] | None = None,
    group: str = "",
) -> Item:
    return Item(
        id=name,
        key=f"key-{name}",
        group=group or name,
        image=ItemImage(ImageKind.URL, "https://a.example/b.jpg"),
        prompt="What is it?",
        references=references,
        record=record,
        choices=tuple(choices),
        fields=dict(fields or {}),
    )


def reply(
    text: str | None, name: str = "one", subject: Subject = SUBJECT, pixels: int = 0
) -> Reply:
    error = "" if text is not None else "worker_lost"
    return Reply(
        subject=subject.fingerprint,
        item=f"key-{name}",
        id=name,
        answer=text,
        error=error,
        message="It <broke>." if error else "",
        finish_reason="stop",
        seconds=0.2,
        pixels=pixels,
    )
