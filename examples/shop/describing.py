"""From a product to its description: the one path of requests, webhooks and the catalogue."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from openai import APIStatusError, OpenAI, OpenAIError

from examples.shop.asked import Asked
from examples.shop.batches import answers_by_batch
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


class Describer:
    """Describes products; threads may share it."""

    def __init__(self, settings: Settings, tables: Tables, images: Images) -> None:
        self._settings = settings
        self.tables = tables
        self.images = images
        self._client = OpenAI(base_url=settings.server, api_key=settings.api_key)
        self._reading = Reading(VOCABULARY, settings.question)
        self._author = Author(VOCABULARY)

    def describe(self, identity: str, style: Style, reading: Asked | None = None) -> Kept | None:
        """The product's description; written now unless the kept one is fresh.

        Args:
            identity: The product's id.
            style: What is wanted.
            reading: What the model answered about the product's image; None asks it.

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
        was_edited = kept is not None and kept.edited
        return self._write(product, style, reading, was_edited=was_edited)

    def is_fresh(self, product: Product, kept: Kept) -> bool:
        """Whether a kept description fits the product as it is now."""
        wanted = stamp(product, kept.stamp.style, self._settings.maker)
        return not wanted.changed_since(kept.stamp)

    def describe_all(
        self,
        identities: Iterable[str],
        on_progress: Callable[[int], object] = print,
        readings: Mapping[str, Asked] | None = None,
    ) -> dict[str, str]:
        """Describes products in all styles, several at once; fresh ones cost no request.

        Args:
            identities: The products' ids.
            on_progress: Called with the number of products that are done.
            readings: Of `read_by_batch`; products without one are asked one by one.

        Returns:
            Why products have no description, by id. Call again to retry these.
        """
        failed: dict[str, str] = {}

        def one(identity: str) -> None:
            try:
                for style in STYLES:
                    self.describe(identity, style, (readings or {}).get(identity))
            except (OpenAIError, EngineFailed) as error:
                failed[identity] = str(error)

        with ThreadPoolExecutor(self._settings.at_once) as threads:
            for done, _ in enumerate(threads.map(one, identities), start=1):
                on_progress(done)
        return failed

    def read_by_batch(self) -> dict[str, Asked]:
        """Reads the images of all products without a fresh description, in one or more batches.

        Raises:
            OpenAIError: The server has no batch API, or refused a batch.
        """
        products = (self.tables.product(identity) for identity in self.tables.ids())
        stale = [one for one in products if one is not None and not self._is_described(one)]
        bodies = [(one.id, self._reading_body(self._image_url(one))) for one in stale]
        return answers_by_batch(self._client, bodies) if bodies else {}

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

    def _is_described(self, product: Product) -> bool:
        kept = [self.tables.description(product.id, style) for style in STYLES]
        return all(one is not None and self.is_fresh(product, one) for one in kept)

    def _image_url(self, product: Product) -> str:
        content = base64.b64encode(self.images.get(product.image)).decode()
        return f"data:image/jpeg;base64,{content}"

    def _reading_body(self, url: str) -> dict[str, Any]:
        return reading_body(self._settings.model, self._reading, url)

    def _write(
        self, product: Product, style: Style, reading: Asked | None, *, was_edited: bool
    ) -> Kept:
        url = self._image_url(product)
        asked = reading or self._ask(self._reading_body(url))
        seen: Mapping[str, Value] = self._reading.parse(asked.text)
        seen = {**seen, **self.tables.confirmed(product.id)}
        if self._settings.author:
            messages = self._author.messages(product, seen, style, url)
            form = self._author.response_format(style)
            asked = self._ask(_body(self._settings.author, messages, form))
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

    def _ask(self, body: dict[str, Any]) -> Asked:
        response = self._client.chat.completions.with_raw_response.create(**body)
        headers = response.headers
        return Asked(
            text=response.parse().choices[0].message.content or "",
            request_id=headers.get("x-request-id", ""),
            model=headers.get("x-silkline-model", body["model"]),
            cache=headers.get("x-silkline-cache", ""),
        )


def reading_body(model: str, reading: Reading, image_url: str) -> dict[str, Any]:
    """The body of the chat request that reads an image, by its https or data URL."""
    return _body(model, reading.messages(image_url), reading.response_format())


def _body(model: str, messages: list[dict[str, Any]], form: dict[str, Any]) -> dict[str, Any]:
    """The body of a chat request. At temperature 0 the server may answer from its cache."""
    return {
        "model": model,
        "messages": messages,
        "response_format": form,
        "temperature": 0,
        "max_tokens": _MAX_TOKENS,
    }
