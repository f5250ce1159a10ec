"""The shop's tables: products, and their descriptions. SQLite or PostgreSQL, by the URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sql

from silkline.catalog.checks import Finding
from silkline.catalog.description import Description, Style
from silkline.catalog.freshness import Stamp
from silkline.catalog.product import Price, Product
from silkline.catalog.vocabulary import Language, Value

_METADATA = sql.MetaData()
PRODUCTS = sql.Table(
    "products",
    _METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("attributes", sql.JSON, nullable=False),
    sql.Column("amount", sql.String(20)),
    sql.Column("currency", sql.String(3)),
    sql.Column("proven_claims", sql.JSON, nullable=False),
    sql.Column("image", sql.String(32), nullable=False),
    sql.Column("confirmed", sql.JSON, nullable=False),
)
DESCRIPTIONS = sql.Table(
    "descriptions",
    _METADATA,
    sql.Column("product", sql.String(64), primary_key=True),
    sql.Column("language", sql.String(2), primary_key=True),
    sql.Column("tone", sql.String(10), primary_key=True),
    sql.Column("length", sql.String(10), primary_key=True),
    sql.Column("state", sql.String(10), nullable=False, index=True),
    sql.Column("kept", sql.Text, nullable=False),
)


class State(StrEnum):
    """What happens with a description."""

    PUBLISHED = "published"
    REVIEW = "review"
    REFUSED = "refused"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A description that the shop keeps.

    Attributes:
        product: The product's id.
        description: The text.
        stamp: What it was made from.
        seen: What the model read from the image.
        findings: What is wrong with it.
        state: Only published ones are shown to customers.
        edited: Whether a person wrote the text.
        request_id: The request whose answer the text rests on, for feedback.
        model: Which model answered, with its bundle's digest.
        cache: Whether the server's cache had the answer: hit, miss, ...
        written_at: When, in UTC.
    """

    product: str
    description: Description
    stamp: Stamp
    seen: Mapping[str, Value]
    findings: tuple[Finding, ...]
    state: State
    edited: bool = False
    request_id: str = ""
    model: str = ""
    cache: str = ""
    written_at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


class Tables:
    """The tables; threads may share it."""

    def __init__(self, url: str) -> None:
        """Opens the database and creates missing tables.

        Args:
            url: Of SQLAlchemy: sqlite:///file or postgresql+psycopg://user@host/database.
        """
        address = sql.make_url(url)
        if address.get_backend_name() == "sqlite" and address.database:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sql.create_engine(address, pool_size=32)
        _METADATA.create_all(self._engine)

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def put(self, product: Product, confirmed: Mapping[str, Value] | None = None) -> None:
        """Inserts or replaces a product.

        Args:
            product: The row.
            confirmed: What a person read from this image, where the model was wrong.
        """
        self._replace(PRODUCTS, [_row(product, confirmed or {})])

    def put_all(self, products: Iterable[Product]) -> None:
        """Inserts or replaces products, all of them or none."""
        self._replace(PRODUCTS, (_row(product, {}) for product in products))

    def product(self, identity: str) -> Product | None:
        """A product; None if there is none."""
        row = self._first(sql.select(PRODUCTS).where(PRODUCTS.c.id == identity))
        return _product(row) if row else None

    def confirmed(self, identity: str) -> dict[str, Value]:
        """What a person read from the product's present image."""
        row = self._first(sql.select(PRODUCTS.c.confirmed).where(PRODUCTS.c.id == identity))
        return dict(row["confirmed"]) if row else {}

    def ids(self) -> list[str]:
        """The ids of all products, in order."""
        with self._engine.connect() as connection:
            return list(connection.scalars(sql.select(PRODUCTS.c.id).order_by(PRODUCTS.c.id)))

    def page(
        self, language: Language, offset: int, count: int
    ) -> list[tuple[Product, Kept | None]]:
        """Products in order of their ids, with their descriptions in a language."""
        query = sql.select(PRODUCTS).order_by(PRODUCTS.c.id).offset(offset).limit(count)
        with self._engine.connect() as connection:
            products = [_product(row) for row in connection.execute(query).mappings()]
        kept = self._kept(
            DESCRIPTIONS.c.language == language.value,
            DESCRIPTIONS.c.product.in_([product.id for product in products]),
        )
        by_product = {one.product: one for one in kept}
        return [(product, by_product.get(product.id)) for product in products]

    def keep(self, kept: Kept) -> None:
        """Inserts or replaces a description."""
        style = kept.stamp.style
        row = _style_key(kept.product, style) | {
            "state": kept.state.value,
            "kept": msgspec.json.encode(kept).decode(),
        }
        self._replace(DESCRIPTIONS, [row])

    def description(self, identity: str, style: Style) -> Kept | None:
        """The description of a product in a style; None if there is none."""
        key = _style_key(identity, style)
        wanted = [DESCRIPTIONS.c[name] == value for name, value in key.items()]
        return next(self._kept(*wanted), None)

    def descriptions(self, identity: str) -> list[Kept]:
        """All descriptions of a product."""
        return list(self._kept(DESCRIPTIONS.c.product == identity))

    def in_state(self, state: State, count: int = 1_000_000) -> list[Kept]:
        """The first descriptions in a state, by product."""
        return list(self._kept(DESCRIPTIONS.c.state == state.value, count=count))

    def counts(self) -> dict[str, int]:
        """How many descriptions are in each state."""
        query = sql.select(DESCRIPTIONS.c.state, sql.func.count()).group_by(DESCRIPTIONS.c.state)
        with self._engine.connect() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state.value: found.get(state.value, 0) for state in State}

    def _kept(self, *wanted: sql.ColumnElement[bool], count: int = 1_000_000) -> Iterator[Kept]:
        order = (DESCRIPTIONS.c.product, DESCRIPTIONS.c.language)
        query = sql.select(DESCRIPTIONS.c.kept).where(*wanted).order_by(*order).limit(count)
        with self._engine.connect() as connection:
            texts = list(connection.scalars(query))
        return (msgspec.json.decode(text, type=Kept) for text in texts)

    def _first(self, query: sql.Select[Any]) -> sql.RowMapping | None:
        with self._engine.connect() as connection:
            return connection.execute(query).mappings().first()

    def _replace(self, table: sql.Table, rows: Iterable[Mapping[str, Any]]) -> None:
        with self._engine.begin() as connection:
            for row in rows:
                same = [column == row[column.name] for column in table.primary_key]
                if connection.execute(sql.update(table).where(*same).values(row)).rowcount == 0:
                    connection.execute(sql.insert(table).values(row))


def _row(product: Product, confirmed: Mapping[str, Value]) -> dict[str, Any]:
    price = product.price
    return {
        "id": product.id,
        "attributes": dict(product.attributes),
        "amount": str(price.amount) if price else None,
        "currency": price.currency if price else None,
        "proven_claims": list(product.proven_claims),
        "image": product.image,
        "confirmed": dict(confirmed),
    }


def _style_key(identity: str, style: Style) -> dict[str, str]:
    return {
        "product": identity,
        "language": style.language.value,
        "tone": style.tone.value,
        "length": style.length.value,
    }


def _product(row: sql.RowMapping) -> Product:
    price = Price(Decimal(row["amount"]), row["currency"]) if row["amount"] else None
    return Product(
        id=row["id"],
        attributes=row["attributes"],
        price=price,
        proven_claims=tuple(row["proven_claims"]),
        image=row["image"],
    )
