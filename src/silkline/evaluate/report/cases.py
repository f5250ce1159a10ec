"""The items of which an answer went wrong, picture by picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from silkline.evaluate.item import Item
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.records import is_same, parse_record
from silkline.evaluate.report.word_diff import Part, diff_words

_MAX_CHARS = 3_000
_ABSENT = "\N{EM DASH}"


@dataclass(frozen=True, slots=True)
class Case:
    """One item of the report.

    Attributes:
        item: What was asked.
        replies: A's, and B's where there is one.
        image: As a data URL; empty where it could not be had.
    """

    item: Item
    replies: tuple[Reply, ...]
    image: str


def show(case: Case) -> str:
    """A case as an article."""
    item = case.item
    image = (
        f"<img src='{escape(case.image)}' alt='The picture of item {escape(item.id)}'>"
        if case.image
        else "<p class='missing'>The picture could not be read.</p>"
    )
    chips = "".join(
        f"<li>{escape(name)}: {escape(value)}</li>" for name, value in item.fields.items()
    )
    answers = _records(case) if item.record is not None else _texts(case)
    return (
        f"<article class='card case'><figure>{image}</figure><div><h3>{escape(item.id)}</h3>"
        f"<p class='prompt'>{escape(_cut(item.prompt))}</p></div><div>{answers}"
        f"{f'<ul class=chips>{chips}</ul>' if chips else ''}</div></article>"
    )


def _records(case: Case) -> str:
    """Field by field; what is wrong is marked."""
    right = case.item.record or {}
    found = [parse_record(reply.answer or "") for reply in case.replies]
    if all(one is None for one in found):
        return _texts(case)
    names = dict.fromkeys([*right, *(name for one in found for name in one or ())])
    rows = "".join(
        f"<tr><th scope='row'>{escape(name[:_MAX_CHARS])}</th><td>{_value(right, name)}</td>"
        + "".join(_field(one, right, name) for one in found)
        + "</tr>"
        for name in names
    )
    heads = "".join(
        f"<th scope='col'><span class='side {side.lower()}'>{side}</span></th>"
        for side, _ in zip("AB", found, strict=False)
    )
    broken = "".join(
        f"<dl class='answers'>{_reply(side, reply, '')}</dl>"
        for side, reply, one in zip("AB", case.replies, found, strict=False)
        if one is None
    )
    return (
        f"<div class='wide'><table><thead><tr><th scope='col'>field</th><th scope='col'>right</th>"
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>{broken}"
    )


def _field(found: object, right: object, name: str) -> str:
    if not isinstance(found, dict) or not isinstance(right, dict):
        return f"<td>{_ABSENT}</td>"
    same = (name in found) == (name in right) and is_same(found.get(name), right.get(name))
    shown = _value(found, name)
    return f"<td>{shown if same else f'<mark>{shown}</mark>'}</td>"


def _value(record: object, name: str) -> str:
    if not isinstance(record, dict) or name not in record:
        return _ABSENT
    return escape(_cut(json.dumps(record[name], ensure_ascii=False)))


def _texts(case: Case) -> str:
    """Answers whose differences from the reference are marked; without one, from A's answer."""
    item = case.item
    right = [] if item.record is None else [json.dumps(dict(item.record), ensure_ascii=False)]
    right = right or list(dict.fromkeys(item.references))
    shown = f"<dt>right</dt><dd>{escape(_cut(' / '.join(right)))}</dd>" if right else ""
    nearest = right[0] if right else case.replies[0].answer or ""
    answers = "".join(
        _reply(side, reply, nearest) for side, reply in zip("AB", case.replies, strict=False)
    )
    return f"<dl class='answers'>{shown}{answers}</dl>"


def _reply(side: str, reply: Reply, right: str) -> str:
    head = f"<dt><span class='side {side.lower()}'>{side}</span></dt>"
    if reply.answer is None:
        return f"{head}<dd class='failed'>{escape(reply.error)}: {escape(reply.message)}</dd>"
    if not right:
        return f"{head}<dd>{escape(_cut(reply.answer))}</dd>"
    return f"{head}<dd>{''.join(_marked(right, reply.answer))}</dd>"


def _marked(right: str, said: str) -> Iterator[str]:
    for part, text in diff_words(_cut(right), _cut(said)):
        shown = escape(text)
        yield shown if part is Part.SAME else f"<{part.value}>{shown}</{part.value}>"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "\N{HORIZONTAL ELLIPSIS}"


def show_all(cases: Sequence[Case]) -> str:
    """All cases, one below the other."""
    return f"<div class='cases'>{''.join(map(show, cases))}</div>"
