"""The served models, and the choice of a model for a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from silkline.admission.admission import Admission
from silkline.config import RemoteSettings
from silkline.core import EngineInfo
from silkline.errors import ModelNotFound, Overloaded
from silkline.ingress.wanted import Wanted
from silkline.routing.pool import EnginePool


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One served model.

    Attributes:
        pool: The engines that compute the model's answers.
        admission: Decides which requests are admitted, and when.
        aliases: Other names that requests may use.
        remotes: The remote servers that may compute an answer.
        wanted: In which form the engines take images.
    """

    pool: EnginePool
    admission: Admission
    aliases: frozenset[str] = frozenset()
    remotes: tuple[RemoteSettings, ...] = ()
    wanted: Wanted = Wanted.PIXELS

    @property
    def info(self) -> EngineInfo:
        """Describes the model and its engine. Raises `Overloaded` until an engine has started."""
        return self.pool.info

    @property
    def label(self) -> str:
        """The model's name and revision, as in responses: `name@revision`."""
        return self.info.label


class ServedModels:
    """The served models, found by the names that their engines report; the first is the default."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Takes at least one model; the models need not have started."""
        self._models = tuple(models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    @property
    def default(self) -> ServedModel:
        """The model for requests without a model name."""
        return self._models[0]

    @property
    def ready(self) -> bool:
        """Whether every model has an engine that made progress recently."""
        return all(model.pool.ready for model in self._models)

    def choose(self, name: str | None) -> ServedModel:
        """Finds a model by its name, with or without its revision (`name@revision`), or an alias.

        Raises:
            ModelNotFound: No model has this name.
            Overloaded: The name may belong to a model that has not started yet.
        """
        if name is None:
            return self.default
        started: list[str] = []
        loading: Overloaded | None = None
        for model in self._models:
            try:
                info = model.info
                if name in {info.model, info.label, *model.aliases}:
                    return model
                started.append(info.model)
            except Overloaded as error:
                loading = error
        if loading is not None:
            raise loading
        raise ModelNotFound(
            f"The requested model is not served here. Use {' or '.join(started)}.",
            param="model",
        )
