"""Makes served models of settings, and sees that they fit on the machine together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from silkline.admission.limits import Limits
from silkline.config import AdmissionSettings, ModelSettings
from silkline.errors import ConfigError, SilklineError
from silkline.service.adapters import AdapterPool, prepare_adapter
from silkline.service.budget import Machine, Share, divide
from silkline.service.cascade import CascadePool
from silkline.service.model import OnProgress
from silkline.service.models import ServedModels
from silkline.service.pool import Pool, Prepared, ignore, prepare
from silkline.service.ray.directory import Load
from silkline.service.served_model import ServedModel

logger = logging.getLogger("silkline.models")


def bases_first(wanted: Mapping[str, ModelSettings]) -> list[tuple[str, ModelSettings]]:
    """Returns models by key in the order in which they start: adapters after their bases."""
    return sorted(wanted.items(), key=lambda item: bool(item[1].base))


class ModelLoader:
    """Makes models; they share the machine and the tenants' rate limits."""

    def __init__(self, admission: AdmissionSettings) -> None:
        """Measures the machine; make it before the first model is loaded."""
        self.machine = Machine.measured()
        self._admission = admission
        self.limits = Limits(time.monotonic)
        self._served: ServedModels | None = None

    async def models(
        self,
        wanted: Mapping[str, ModelSettings],
        on_progress: OnProgress = ignore,
        may_fail: Collection[str] = (),
    ) -> ServedModels:
        """Prepares models that share the machine; nothing is loaded yet.

        Args:
            wanted: Their settings by key.
            on_progress: Called with what is being done, in words, from another thread.
            may_fail: The keys of models that are left out, with an error in the log, if they cannot
                be prepared.

        Raises:
            ConfigError: As `prepare`; or the models need more than the machine has, with the sum.
            EnvironmentFault: As `prepare`.
        """
        prepared: dict[str, Prepared] = {}
        try:
            for key, settings in bases_first(wanted):
                try:
                    prepared[key] = await self.prepared(settings, prepared, on_progress)
                except SilklineError as error:
                    if key not in may_fail or len(wanted) == 1:
                        raise
                    fields = {"silkline.model": key, "error.message": error.message}
                    logger.error("a model is left out", extra={"ecs": fields})  # noqa: TRY400
            shares = divide(self.machine, {key: each.need for key, each in prepared.items()})
            made: dict[str, ServedModel] = {}
            for key, each in prepared.items():
                made[key] = self._model(key, each, shares[key], made, prepared.values())
            self._served = ServedModels(made[key] for key in wanted if key in made)
        except BaseException:
            for each in prepared.values():
                each.release()
            raise
        return self._served

    async def prepared(
        self,
        wanted: ModelSettings,
        beside: Mapping[str, Prepared],
        on_progress: OnProgress = ignore,
    ) -> Prepared:
        """Prepares a model, or an adapter of one that stands beside it; nothing is loaded.

        Args:
            wanted: Its settings.
            beside: The other models by key; among them is an adapter's base.
            on_progress: Called with what is being done, in words, from another thread.

        Raises:
            ConfigError: As `prepare` or `prepare_adapter`.
            EnvironmentFault: As `prepare`.
        """
        if not wanted.base:
            return await prepare(wanted, on_progress)
        base = beside.get(wanted.base)
        if base is None:
            raise ConfigError(f"The base {wanted.base} of {wanted.served_name} is not served.")
        return await asyncio.to_thread(prepare_adapter, wanted, base)

    def model(self, key: str, prepared: Prepared, beside: Mapping[str, ServedModel]) -> ServedModel:
        """Returns a further model, which has not started; those beside it keep their shares.

        Raises:
            ConfigError: They need more than the machine has; or as `Prepared.pool`.
        """
        needs = {name: model.prepared.need for name, model in beside.items()}
        share = divide(self.machine, needs | {key: prepared.need})[key]
        others = [model.prepared for model in beside.values()]
        return self._model(key, prepared, share, beside, others)

    def _model(
        self,
        key: str,
        prepared: Prepared,
        share: Share,
        beside: Mapping[str, ServedModel],
        others: Iterable[Prepared],
    ) -> ServedModel:
        wanted = prepared.wanted
        own = [each.adapter for each in others if each.adapter and each.wanted.base == key]
        create_pool: Callable[[], Pool] = partial(prepared.pool, share, own, lambda: _load(served))
        base = beside.get(wanted.base)
        if base is not None and prepared.adapter is not None:
            create_pool = partial(AdapterPool, wanted.served_name, prepared.adapter, base)
        if wanted.cascade:
            name, below = wanted.served_name, wanted.escalate_below
            create_pool = partial(CascadePool, name, wanted.cascade, below, self._find)
        served: ServedModel = ServedModel(
            key, prepared, create_pool, self._admission, self.limits, base=base
        )
        return served

    def _find(self, name: str) -> ServedModel | None:
        return None if self._served is None else self._served.find(name)


def _load(model: ServedModel) -> Load:
    """What waits for the model's workers."""
    waits = model.admission.snapshot()
    return Load(waiting=waits.waiting, backlog_seconds=waits.backlog_seconds or 0.0)
