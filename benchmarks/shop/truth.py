"""Whether answers are right: beside the images' truth, the computed answers and the model alone."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.shop.load import Answered
from examples.shop.describing import CHECKER
from examples.shop.generated import Drawn
from examples.shop.words import COMPOSER, VOCABULARY
from silkline.catalog.checks import Outcome, outcome
from silkline.catalog.description import Style
from silkline.catalog.reading import Reading
from silkline.catalog.vocabulary import Value
from silkline.errors import EngineFailed

COMPUTED = frozenset({"miss", "bypass"})
"""Cache states of answers that an engine computed."""

_STYLE = Style()
_READING = Reading(VOCABULARY)


class Judged(msgspec.Struct, frozen=True):
    """What the check of all answers found.

    Attributes:
        answers: Answers that were checked.
        products: Products that they are about.
        right: Share of the answers whose record equals the image's truth in all attributes.
        sampled: Products whose answers were compared with the model alone.
        right_of_sample: Share of the sample's answers that equal the truth, one for each product.
        right_alone: The same of the model alone.
        differing: Answers about sampled products that are not, to the byte, the model's alone.
        invalid: Answers that the shop cannot read.
        from_cache: Answers that were not computed for their request.
        unequal: Those of them that are not, to the byte, an answer that was computed about the
            image.
        unseen: Those of them for which no computed answer is known, as its gateway was killed.
        recomputed: Products that were computed more than once.
        unstable: Those of them whose computed answers differ.
        published: Products whose description may be published.
        published_wrong: Those of them whose description contradicts the image.
        planted: Products whose row has a wrong value.
        flagged: Those of them that are not published.
    """

    answers: int
    products: int
    right: float
    sampled: int
    right_of_sample: float
    right_alone: float
    differing: int
    invalid: int
    from_cache: int
    unequal: int
    unseen: int
    recomputed: int
    unstable: int
    published: int
    published_wrong: int
    planted: int
    flagged: int

    @property
    def wrong(self) -> int:
        """Answers that are not what the model says about their image."""
        return self.differing + self.invalid + self.unequal


def answers_of(*files: Path) -> list[Answered]:
    """Reads what a load wrote; equal texts are kept once."""
    decoder, found = msgspec.json.Decoder(Answered), []
    for path in files:
        with path.open("rb") as file:
            for line in file:
                one = decoder.decode(line)
                one.text, one.model = sys.intern(one.text), sys.intern(one.model)
                found.append(one)
    return found


def judge(answers: Sequence[Answered], alone: Sequence[Answered], drawn: Sequence[Drawn]) -> Judged:
    """Checks answers.

    Args:
        answers: Those of the run, and of the time before it.
        alone: What the model says without any cache about some of the products.
        drawn: The products by their numbers.
    """
    served = [one for one in answers if one.record.ok]
    computed = _computed(served)
    states = [_compared(one, computed) for one in served]
    own = {one.record.image: one.text for one in alone if one.record.ok}
    texts: dict[int, str] = {}
    for one in served:
        texts.setdefault(one.record.image, one.text)
    described = [_Described(drawn[number], text) for number, text in texts.items()]
    readable = {text: _is_readable(text) for text in {one.text for one in served}}
    sample = [number for number in own if number in texts]
    return Judged(
        answers=len(served),
        products=len(texts),
        right=_share(_is_right(one.text, drawn[one.record.image]) for one in served),
        sampled=len(sample),
        right_of_sample=_share(_is_right(texts[number], drawn[number]) for number in sample),
        right_alone=_share(_is_right(own[number], drawn[number]) for number in sample),
        differing=sum(own.get(one.record.image, one.text) != one.text for one in served),
        invalid=sum(not readable[one.text] for one in served),
        from_cache=sum(one.record.cache not in COMPUTED for one in served),
        unequal=states.count("unequal"),
        unseen=states.count("unseen"),
        recomputed=sum(len(found) > 1 for found in computed.values()),
        unstable=sum(len(set(found)) > 1 for found in computed.values()),
        published=sum(one.is_published for one in described),
        published_wrong=sum(one.is_published and one.is_wrong for one in described),
        planted=sum(bool(one.drawn.planted) for one in described),
        flagged=sum(bool(one.drawn.planted) and not one.is_published for one in described),
    )


def unseen(answers: Iterable[Answered]) -> set[int]:
    """Products with answers from a cache and none that was computed."""
    served = [one for one in answers if one.record.ok]
    computed = {one.record.image for one in served if one.record.cache in COMPUTED}
    return {one.record.image for one in served} - computed


def right_share(answers: Iterable[Answered], drawn: Sequence[Drawn]) -> float:
    """Share of the answers whose record equals the image's truth in all attributes."""
    return _share(_is_right(one.text, drawn[one.record.image]) for one in answers if one.record.ok)


class _Described:
    """A product's description, as the shop writes it from an answer."""

    def __init__(self, drawn: Drawn, text: str) -> None:
        self.drawn = drawn
        self.is_published, self.is_wrong = False, False
        try:
            seen = _READING.parse(text)
        except EngineFailed:
            return
        description = COMPOSER.compose(drawn.product, seen, _STYLE)
        findings = CHECKER.check(description, drawn.product, seen, _STYLE)
        self.is_published = outcome(findings) is Outcome.PUBLISH
        self.is_wrong = any(
            name in drawn.truth and value != drawn.truth[name]
            for name, value in description.attributes.items()
        )


def _computed(served: Iterable[Answered]) -> dict[tuple[int, str], list[str]]:
    """The computed texts by product and model."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    for one in served:
        if one.record.cache in COMPUTED:
            found[one.record.image, one.model].append(one.text)
    return found


def _compared(one: Answered, computed: dict[tuple[int, str], list[str]]) -> str:
    if one.record.cache in COMPUTED:
        return "computed"
    known = computed.get((one.record.image, one.model))
    if known is None:
        return "unseen"
    return "equal" if one.text in known else "unequal"


def _is_readable(text: str) -> bool:
    try:
        _READING.parse(text)
    except EngineFailed:
        return False
    return True


def _is_right(text: str, drawn: Drawn) -> bool:
    try:
        found: dict[str, Value] = json.loads(text)
    except ValueError:
        return False
    return found == drawn.truth


def _share(outcomes: Iterator[bool] | Iterable[bool]) -> float:
    found = list(outcomes)
    return sum(found) / max(1, len(found))
