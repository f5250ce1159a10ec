"""The shop's settings, from variables of the environment that begin with SHOP_."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

FOLDER = Path(".cache/shop").absolute()


@dataclass(frozen=True)
class Settings:
    """The settings; each is read from SHOP_ and its name in capitals.

    Attributes:
        server: Base URL of Silkline, with /v1.
        api_key: For the server.
        model: The served model's name.
        author: Name of a model that writes the texts. Empty: a template writes them.
        question: What the model is asked about an image. The bundled model knows this one; empty
            for a prompt that lists the attributes, for models that follow instructions.
        database: URL of the product table, for SQLAlchemy.
        images: URL of the images' folder or bucket, for obstore.
        webhook_secret: Signs webhooks. Empty: webhooks are refused.
        at_once: Products that are described at the same time.
    """

    server: str = "http://127.0.0.1:8000/v1"
    api_key: str = "none"
    model: str = "shop"
    author: str = ""
    question: str = "Give the record as JSON."
    database: str = f"sqlite:///{FOLDER}/shop.sqlite"
    images: str = f"file://{FOLDER}/images"
    webhook_secret: str = ""
    at_once: int = 8

    @property
    def maker(self) -> str:
        """What makes the descriptions, for their stamps."""
        return f"1 {self.author or 'template'} {self.question}"


def read_settings(**changes: str) -> Settings:
    """The settings of the environment, with some changed."""
    found: dict[str, Any] = {
        field.name: text
        for field in fields(Settings)
        if (text := os.environ.get(f"SHOP_{field.name.upper()}")) is not None
    }
    if "at_once" in found:
        found["at_once"] = int(found["at_once"])
    return Settings(**found | changes)
