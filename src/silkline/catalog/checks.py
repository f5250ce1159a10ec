"""Findings about a description: what the table, the image and the text disagree about.

Nothing is decided by asking a model again. The reading and the table are compared value by value;
the texts are searched for the vocabulary's words, for prices and for claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from silkline.catalog.claims import claims
from silkline.catalog.description import Description, Style, schema_violations
from silkline.catalog.plain_text import plain_text
from silkline.catalog.prices import amounts
from silkline.catalog.product import Product
from silkline.catalog.vocabulary import Language, Value, Vocabulary

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_LATIN_WORD = re.compile(r"[a-z]{2,}")


class Kind(StrEnum):
    """What is wrong."""

    CONTRADICTED = "contradicted"
    """The table and the image have different values."""
    UNSEEN = "unseen"
    """The table has a value that an image would show, and the image shows none."""
    UNGROUNDED = "ungrounded"
    """The description has a value that neither the table nor the image has."""
    LANGUAGE = "language"
    """A text is in another language."""
    PRICE = "price"
    """A price that is not the table's, or a discount."""
    CLAIM = "claim"
    """A claim that the shop cannot prove."""
    SCHEMA = "schema"
    """It does not match the JSON schema of descriptions."""


REFUSED_KINDS = frozenset({Kind.PRICE, Kind.CLAIM, Kind.SCHEMA})
"""A description with one of these is refused; any other finding needs an editor."""


class Outcome(StrEnum):
    """What may happen with a description."""

    PUBLISH = "publish"
    REVIEW = "review"
    REFUSE = "refuse"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Attributes:
        kind: What kind of thing.
        part: The attribute or the part of the description that it is about.
        text: The words that were found, or what is wrong with them.
        table: The table's value, for kinds that compare.
        seen: The value that the model read from the image, for kinds that compare.
    """

    kind: Kind
    part: str
    text: str = ""
    table: Value = None
    seen: Value = None


def outcome(findings: tuple[Finding, ...]) -> Outcome:
    """What may happen with a description that has these findings."""
    if not findings:
        return Outcome.PUBLISH
    refused = any(finding.kind in REFUSED_KINDS for finding in findings)
    return Outcome.REFUSE if refused else Outcome.REVIEW


class Checker:
    """Checks descriptions of a shop's products."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        meanings: dict[str, list[tuple[str, str]]] = {}
        for attribute in vocabulary.attributes:
            for value, words in attribute.values.items():
                for word in (*words.en, *words.zh):
                    meanings.setdefault(plain_text(word), []).append((attribute.name, value))
        # The longest words come first and are taken out: "pink red" (in Chinese) is not red.
        words_first = sorted(meanings.items(), key=lambda one: -len(one[0]))
        self._words = [(_pattern(word), meant) for word, meant in words_first]

    def check(
        self, description: Description, product: Product, seen: Mapping[str, Value], style: Style
    ) -> tuple[Finding, ...]:
        """All findings about a description.

        Args:
            description: What would be published.
            product: What the table says.
            seen: What the model read from the image.
            style: What was wanted.
        """
        violations = schema_violations(description, self._vocabulary, style)
        found = [Finding(kind=Kind.SCHEMA, part="description", text=text) for text in violations]
        found += compare(product, seen, self._vocabulary)
        grounds = {
            one.name: _grounds(one.name, product, seen) for one in self._vocabulary.attributes
        }
        for name, value in description.attributes.items():
            if value is not None and not any(_same(value, one) for one in grounds.get(name, ())):
                found.append(Finding(kind=Kind.UNGROUNDED, part=name, text=str(value)))
        for part, text in description.texts():
            found += _text_findings(part, text, product, style.language)
            if part != "attributes":
                found += self._ungrounded_words(part, text, grounds)
        return tuple(dict.fromkeys(found))

    def _ungrounded_words(
        self, part: str, text: str, grounds: Mapping[str, tuple[Value, ...]]
    ) -> Iterator[Finding]:
        """The vocabulary's words in a text that stand for no value of the table or the image."""
        plain = plain_text(text)
        for pattern, meanings in self._words:
            match = pattern.search(plain)
            if match is None:
                continue
            plain = pattern.sub(" ", plain)
            if not any(value in grounds[name] for name, value in meanings):
                yield Finding(kind=Kind.UNGROUNDED, part=part, text=match[0])


def compare(
    product: Product, seen: Mapping[str, Value], vocabulary: Vocabulary
) -> Iterator[Finding]:
    """Where the table and the image disagree, attribute by attribute."""
    for attribute in vocabulary.visible():
        name = attribute.name
        if name not in seen:
            continue
        value = seen[name]
        shown = amounts(value) if isinstance(value, str) and not attribute.values else ()
        if shown:  # a price tag in the image, which the table has as its price
            if product.price and not any(one.equals(product.price) for one in shown):
                price = f"{product.price.amount} {product.price.currency}"
                yield Finding(kind=Kind.CONTRADICTED, part="price", table=price, seen=value)
            value = None
        if name not in product.attributes or _same(product.attributes[name], value):
            continue
        kind = Kind.CONTRADICTED if value is not None else Kind.UNSEEN
        yield Finding(kind=kind, part=name, table=product.attributes[name], seen=seen[name])


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return plain_text(one) == plain_text(other)
    return one == other


def _grounds(name: str, product: Product, seen: Mapping[str, Value]) -> tuple[Value, ...]:
    """The values of an attribute that a description may have."""
    return tuple(source[name] for source in (product.attributes, seen) if name in source)


def _text_findings(part: str, text: str, product: Product, language: Language) -> Iterator[Finding]:
    for amount in amounts(text):
        if not amount.equals(product.price):
            yield Finding(kind=Kind.PRICE, part=part, text=amount.text)
    for claim in claims(text, product.proven_claims):
        yield Finding(kind=Kind.CLAIM, part=part, text=claim.text)
    if part == "attributes":  # their values are the vocabulary's, in no language
        return
    is_chinese = bool(_CHINESE.search(text))
    if language is Language.ENGLISH and is_chinese:
        yield Finding(kind=Kind.LANGUAGE, part=part, text=text)
    if language is Language.CHINESE and not is_chinese and _LATIN_WORD.search(text.casefold()):
        yield Finding(kind=Kind.LANGUAGE, part=part, text=text)


def _pattern(word: str) -> re.Pattern[str]:
    """A word in its singular or plural; Chinese words have no boundaries."""
    if _CHINESE.search(word):
        return re.compile(re.escape(word))
    return re.compile(rf"(?<![\w-]){re.escape(word)}(?:s|es)?(?![\w-])")
