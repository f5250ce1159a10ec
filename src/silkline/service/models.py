"""The table of served models, which may change while requests run; a request keeps its model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

from silkline.errors import ModelNotFound, Overloaded
from silkline.service.served_model import ServedModel


class ServedModels:
    """The served models by key, the default first, and replaced ones that still have requests."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        """Takes at least one model; the models need not have started."""
        self._models = {model.key: model for model in models}
        self._retiring: dict[ServedModel, asyncio.Task[None]] = {}
        self._started = False

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(tuple(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    @property
    def default(self) -> ServedModel:
        """The model for requests without a model name."""
        return next(iter(self._models.values()))

    @property
    def retiring(self) -> tuple[ServedModel, ...]:
        """Models that are no longer in the table and still have requests."""
        return tuple(self._retiring)

    @property
    def ready(self) -> bool:
        """Whether all models have started, and one of them can answer now.

        One model whose worker is being replaced does not make a server of several not ready: load
        balancers would then send nothing to the others either.
        """
        return self._started and any(model.ready for model in self._models.values())

    @property
    def reported(self) -> list[ServedModel]:
        """The models that have started once; their `info` is known.

        Raises:
            Overloaded: None has.
        """
        started = [model for model in self._models.values() if model.has_started]
        if not started:
            _ = self.default.info  # raises
        return started

    def get(self, key: str) -> ServedModel | None:
        """Returns the model with a key; None if there is none."""
        return self._models.get(key)

    def find(self, name: str) -> ServedModel | None:
        """Returns the model with a name in the API; None if there is none."""
        return next((model for model in self._models.values() if model.name == name), None)

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Shares the engines with other gateway processes, if there are any, during the block."""
        async with AsyncExitStack() as stack:
            for model in self:
                await stack.enter_async_context(model.shared())
            yield

    def choose(self, name: str | None) -> ServedModel:
        """Finds a model by its name, with or without its revision (`name@revision`), or an alias.

        Raises:
            ModelNotFound: No model has this name.
            Overloaded: The name may belong to a model that has not started yet.
        """
        if name is None:
            return self.default
        loading: Overloaded | None = None
        for model in self._models.values():
            try:
                if model.answers_to(name):
                    return model
            except Overloaded as error:
                loading = error
        if loading is not None:
            raise loading
        names = " or ".join(model.name for model in self._models.values())
        raise ModelNotFound(f"The requested model is not served here. Use {names}.", param="model")

    async def start(self, may_fail: Collection[str] = ()) -> None:
        """Starts all models.

        Args:
            may_fail: The keys of models that stay unloaded, with an error in the log, if they
                cannot start.

        Raises:
            SilklineError: A model cannot start; this is the error of the first that failed.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for key, model in self._models.items():
                    group.create_task(model.try_start() if key in may_fail else model.start())
        except ExceptionGroup as failures:
            await self.aclose()
            raise failures.exceptions[0] from None
        self._started = True

    def put(self, model: ServedModel, drain_seconds: float) -> None:
        """Adds a model, or replaces the one with its key; the old one finishes its requests."""
        old = self._models.get(model.key)
        self._models[model.key] = model
        if old is not None:
            self._retire(old, drain_seconds)

    def remove(self, model: ServedModel, drain_seconds: float) -> None:
        """Removes a model; it finishes its requests."""
        del self._models[model.key]
        self._retire(model, drain_seconds)

    def reorder(self, keys: Iterable[str]) -> None:
        """Puts the models into this order, which says which one is the default."""
        first = [key for key in keys if key in self._models]
        rest = [key for key in self._models if key not in first]
        self._models = {key: self._models[key] for key in (*first, *rest)}

    def refuse_waiting(self) -> None:
        """Ends all waiting requests, and all later ones, with `ShuttingDown`."""
        for model in (*self._models.values(), *self._retiring):
            model.admission.close()

    async def aclose(self) -> None:
        """Closes all models; requests that still run end with `ShuttingDown`. Idempotent."""
        models = (*self._models.values(), *self._retiring)
        await asyncio.gather(*(model.aclose() for model in models))
        await asyncio.gather(*self._retiring.values())

    def _retire(self, model: ServedModel, drain_seconds: float) -> None:
        task = asyncio.create_task(model.drain(drain_seconds), name=f"drain {model.name}")
        self._retiring[model] = task
        task.add_done_callback(lambda _: self._retiring.pop(model, None))
