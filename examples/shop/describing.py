"""From a product to its description: the one path of requests, webhooks and the catalogue."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from openai import APIStatusError, OpenAI, OpenAIError

from examples.shop.images import Images
from examples.shop.settings import Settings
from examples.shop.tables import Kept, State, Tables
from examples.shop.words import COMPOSER, VOCABULARY
from silkline.catalog.authoring import Author
from silkline.catalog.checks import Checker, Outcome, outcome
from silkline.catalog.description import Description, Style
from silkline.catalog.freshness import stamp
from silkline.catalog.product import Product
from silkline.catalog.reading import Reading
from silkline.catalog.vocabulary import Language, Value
from silkline.errors import EngineFailed

STYLES = tuple(Style(language=language) for language in Language)
"""The descriptions that every product gets."""

CHECKER = Checker(VOCABULARY)
_STATES = {
    Outcome.PUBLISH: State.PUBLISHED,
    Outcome.REVIEW: State.REVIEW,
    Outcome.REFUSE: State.REFUSED,
}
_MAX_TOKENS = 1024
_NOT_FOUND = 404


class Asked(msgspec.Struct, frozen=True):
    """An answer of the server, with what its headers say about it."""

    text: str
    request_id: str
    model: str
    cache: str


class Describer:
    """Describes products; threads may share it."""

    def __init__(self, settings: Settings, tables: Tables, images: Images) -> None:
        self._settings = settings
        self.tables = tables
        self.images = images
        self._client = OpenAI(base_url=settings.server, api_key=settings.api_key)
        self._reading = Reading(VOCABULARY, settings.question)
        self._author = Author(VOCABULARY)

    def describe(self, identity: str, style: Style) -> Kept | None:
        """The product's description; written now unless the kept one is fresh.

        Returns:
            None if there is no such product.

        Raises:
            OpenAIError: The server did not answer, or refused.
            EngineFailed: The answer cannot be used.
        """
        product = self.tables.product(identity)
        if product is None:
            return None
        wanted = stamp(product, style, self._settings.maker)
        kept = self.tables.description(identity, style)
        if kept is not None and not wanted.changed_since(kept.stamp):
            return kept
        return self._write(product, style, was_edited=kept is not None and kept.edited)

    def is_fresh(self, product: Product, kept: Kept) -> bool:
        """Whether a kept description fits the product as it is now."""
        wanted = stamp(product, kept.stamp.style, self._settings.maker)
        return not wanted.changed_since(kept.stamp)

    def describe_all(
        self, identities: Iterable[str], on_progress: Callable[[int], object] = print
    ) -> dict[str, str]:
        """Describes products in all styles, several at once; fresh ones cost no request.

        Returns:
            Why products have no description, by id. Call again to retry these.
        """
        failed: dict[str, str] = {}

        def one(identity: str) -> None:
            try:
                for style in STYLES:
                    self.describe(identity, style)
            except (OpenAIError, EngineFailed) as error:
                failed[identity] = str(error)

        with ThreadPoolExecutor(self._settings.at_once) as threads:
            for done, _ in enumerate(threads.map(one, identities), start=1):
                on_progress(done)
        return failed

    def save_edited(self, kept: Kept, description: Description) -> Kept:
        """Checks and keeps a text that a person wrote; a refused one stays out of the shop."""
        product = self.tables.product(kept.product)
        assert product is not None  # noqa: S101 - products are never deleted
        style = kept.stamp.style
        findings = CHECKER.check(description, product, kept.seen, style)
        refused = outcome(findings) is Outcome.REFUSE
        edited = msgspec.structs.replace(
            kept,
            description=description,
            findings=findings if refused else (),
            state=State.REFUSED if refused else State.PUBLISHED,
            edited=True,
        )
        self.tables.keep(edited)
        return edited

    def send_feedback(self, kept: Kept, *, accepted: bool) -> bool:
        """Tells the server how good its answer was; experiments decide by it.

        Returns:
            Whether an experiment took it.
        """
        body = {"request_id": kept.request_id, "accepted": accepted}
        try:
            self._client.post("/feedback", body=body, cast_to=object)
        except APIStatusError as error:
            if error.status_code != _NOT_FOUND:  # the answer took part in no experiment
                raise
            return False
        return True

    def _write(self, product: Product, style: Style, *, was_edited: bool) -> Kept:
        content = base64.b64encode(self.images.get(product.image)).decode()
        url = f"data:image/jpeg;base64,{content}"
        model = self._settings.model
        asked = self._ask(model, self._reading.messages(url), self._reading.response_format())
        seen: Mapping[str, Value] = self._reading.parse(asked.text)
        seen = {**seen, **self.tables.confirmed(product.id)}
        if self._settings.author:
            messages = self._author.messages(product, seen, style, url)
            form = self._author.response_format(style)
            asked = self._ask(self._settings.author, messages, form)
            description = self._author.parse(asked.text)
        else:
            description = COMPOSER.compose(product, seen, style)
        findings = CHECKER.check(description, product, seen, style)
        state = _STATES[outcome(findings)]
        kept = Kept(
            product=product.id,
            description=description,
            stamp=stamp(product, style, self._settings.maker),
            seen=seen,
            findings=findings,
            # What a person wrote is not replaced unseen.
            state=State.REVIEW if was_edited and state is State.PUBLISHED else state,
            request_id=asked.request_id,
            model=asked.model,
            cache=asked.cache,
        )
        self.tables.keep(kept)
        return kept

    def _ask(self, model: str, messages: list[dict[str, Any]], form: dict[str, Any]) -> Asked:
        response = self._client.chat.completions.with_raw_response.create(
            model=model,
            messages=messages,  # type: ignore[arg-type]
            response_format=form,  # type: ignore[arg-type]
            temperature=0,
            max_tokens=_MAX_TOKENS,
        )
        headers = response.headers
        return Asked(
            text=response.parse().choices[0].message.content or "",
            request_id=headers.get("x-request-id", ""),
            model=headers.get("x-silkline-model", model),
            cache=headers.get("x-silkline-cache", ""),
        )
