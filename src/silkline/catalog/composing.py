"""Descriptions that a template writes from attributes, for models that read but do not write.

Every word comes from the vocabulary, the table or a fixed phrase, so a description says nothing
that is not known. It follows the table where the table has a value, else the image; the text for
the image follows the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from silkline.catalog.description import (
    ALT_TEXT_CHARACTERS,
    BULLET_CHARACTERS,
    MAX_TAGS,
    TAG_CHARACTERS,
    TITLE_CHARACTERS,
    Description,
    Style,
    Tone,
)
from silkline.catalog.prices import amounts
from silkline.catalog.product import Product
from silkline.catalog.vocabulary import Attribute, Language, Value, Vocabulary

_NUMBERS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TITLES = {
    Language.ENGLISH: {Tone.NEUTRAL: "{}", Tone.FRIENDLY: "Meet the {}", Tone.FORMAL: "{}"},
    Language.CHINESE: {Tone.NEUTRAL: "{}", Tone.FRIENDLY: "来看看这款{}", Tone.FORMAL: "{}"},
}
_SETS = {Language.ENGLISH: ", set of {}", Language.CHINESE: "（{}件）"}
_BULLETS = {
    Language.ENGLISH: {
        Tone.NEUTRAL: "{heading}: {value}",
        Tone.FRIENDLY: "{heading} you get: {value}",
        Tone.FORMAL: "{heading} as supplied: {value}",
    },
    Language.CHINESE: {
        Tone.NEUTRAL: "{heading}：{value}",
        Tone.FRIENDLY: "{heading}是{value}",
        Tone.FORMAL: "本品{heading}为{value}",
    },
}


class Composer:
    """Writes descriptions in English and Chinese."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        noun: str,
        adjectives: tuple[str, ...],
        count: str = "",
        unsaid: tuple[str, ...] = (),
    ) -> None:
        """Checks the names.

        Args:
            vocabulary: The shop's attributes.
            noun: The attribute that says what a product is.
            adjectives: Attributes whose words stand before it, in this order.
            count: The attribute that says how many there are, if there is one.
            unsaid: Values that are left out there, as "plain".

        Raises:
            KeyError: The vocabulary has no such attribute.
        """
        self._vocabulary = vocabulary
        self._noun = vocabulary[noun]
        self._count = vocabulary[count].name if count else ""
        self._unsaid = {None, *unsaid}
        self._adjectives = tuple(vocabulary[name] for name in adjectives)

    def compose(self, product: Product, seen: Mapping[str, Value], style: Style) -> Description:
        """A description of a product."""
        known = {**_readable(seen), **product.attributes}
        known = {
            one.name: known[one.name]
            for one in self._vocabulary.attributes
            if known.get(one.name) is not None
        }
        shown = {**known, **_readable(seen)}
        language = style.language
        title = _TITLES[language][style.tone].format(self._phrase(known, language))
        if self._number(known) > 1:
            title += _SETS[language].format(self._number(known))
        bullets = tuple(self._bullets(known, style))[: style.length.max_bullets]
        return Description(
            language=language,
            title=_capital(title)[:TITLE_CHARACTERS],
            bullets=bullets or (_capital(title)[:BULLET_CHARACTERS],),
            attributes=known,
            alt_text=self._alt_text(shown, language)[:ALT_TEXT_CHARACTERS],
            tags=tuple(self._tags(known, language))[:MAX_TAGS],
        )

    def _phrase(self, known: Mapping[str, Value], language: Language) -> str:
        """As "red striped mug", in the words of the language."""
        parts = [
            one.word(known[one.name], language)
            for one in (*self._adjectives, self._noun)
            if known.get(one.name) not in self._unsaid
        ]
        default = "商品" if language is Language.CHINESE else "product"
        return ("" if language is Language.CHINESE else " ").join(parts) or default

    def _bullets(self, known: Mapping[str, Value], style: Style) -> Iterator[str]:
        for name, value in known.items():
            attribute = self._vocabulary[name]
            if attribute is self._noun or value in self._unsaid:
                continue
            heading = attribute.heading.of(style.language)[0]
            word = _written(attribute, value, style.language)
            bullet = _BULLETS[style.language][style.tone].format(heading=heading, value=word)
            yield bullet[:BULLET_CHARACTERS]

    def _alt_text(self, shown: Mapping[str, Value], language: Language) -> str:
        visible = {name: value for name, value in shown.items() if self._vocabulary[name].visible}
        phrase = self._phrase(visible, language)
        count = self._number(visible)
        texts = [
            str(value)
            for name, value in visible.items()
            if self._vocabulary[name].kind == "text" and value is not None
        ]
        if language is Language.CHINESE:
            tail = f"，上面写着“{'、'.join(texts)}”" if texts else ""
            return f"图片：{phrase}，共{count}件{tail}"
        tail = f', with the text "{", ".join(texts)}"' if texts else ""
        number = f"{_NUMBERS[count].capitalize() if count < len(_NUMBERS) else count} items: "
        return _capital(f"{number if count > 1 else ''}{phrase}{tail}")

    def _number(self, known: Mapping[str, Value]) -> int:
        count = known.get(self._count)
        return count if isinstance(count, int) else 1

    def _tags(self, known: Mapping[str, Value], language: Language) -> Iterator[str]:
        for one in (self._noun, *self._adjectives):
            if known.get(one.name) is not None:
                yield one.word(known[one.name], language)[:TAG_CHARACTERS]
        if known.get(self._noun.name) is None:
            yield "商品" if language is Language.CHINESE else "product"


def _readable(seen: Mapping[str, Value]) -> dict[str, Value]:
    """What was read, without price tags: the page shows the table's price, and no other."""
    return {
        name: value
        for name, value in seen.items()
        if not (isinstance(value, str) and amounts(value))
    }


def _written(attribute: Attribute, value: Value, language: Language) -> str:
    word = attribute.word(value, language)
    if attribute.kind == "text":
        return f"“{word}”" if language is Language.CHINESE else f'"{word}"'
    return word


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
