"""The table of served models, and which of them a request is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from silkline.admission.admission import Admission
from silkline.core import EngineInfo
from silkline.errors import ModelNotFound, Overloaded
from silkline.routing.pool import EnginePool


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One served model.

    Attributes:
        pool: The engines that compute its answers.
        admission: Decides which of its requests go on, and when.
        aliases: Further names that requests may use.
    """

    pool: EnginePool
    admission: Admission
    aliases: frozenset[str] = frozenset()

    @property
    def info(self) -> EngineInfo:
        """What is served. Raises `Overloaded` until an engine has started."""
        return self.pool.info

    @property
    def label(self) -> str:
        """The model's name and the digest of its bundle, as answers carry them."""
        return f"{self.info.model}@{self.info.revision}"


class ServedModels:
    """The served models by the names that their engines tell; the first one is the default."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Takes at least one model; none needs to have started."""
        self._models = tuple(models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    @property
    def default(self) -> ServedModel:
        """The model for requests that name none."""
        return self._models[0]

    @property
    def ready(self) -> bool:
        """Whether every model has an engine that made progress lately."""
        return all(model.pool.ready for model in self._models)

    def choose(self, name: str | None) -> ServedModel:
        """The model of a name, with or without its revision (`name@revision`), or of an alias.

        Raises:
            ModelNotFound: No model has this name.
            Overloaded: It may be that of a model that has not started.
        """
        if name is None:
            return self.default
        started: list[str] = []
        loading: Overloaded | None = None
        for model in self._models:
            try:
                if name in {model.info.model, model.label, *model.aliases}:
                    return model
                started.append(model.info.model)
            except Overloaded as error:
                loading = error
        if loading is not None:
            raise loading
        raise ModelNotFound(
            f"The model asked for is not served here. Ask for {' or '.join(started)}.",
            param="model",
        )
