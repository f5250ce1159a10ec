"""Makes served models of settings, and sees that they fit on the machine together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

from silkline.admission.limits import Limits
from silkline.config import AdmissionSettings, ModelSettings
from silkline.errors import SilklineError
from silkline.service.budget import Machine, Share, divide
from silkline.service.cascade import CascadePool
from silkline.service.model import OnProgress
from silkline.service.models import ServedModels
from silkline.service.pool import Pool, Prepared, ignore, prepare
from silkline.service.ray.directory import Load
from silkline.service.served_model import ServedModel

logger = logging.getLogger("silkline.models")


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
            for key, settings in wanted.items():
                try:
                    prepared[key] = await prepare(settings, on_progress)
                except SilklineError as error:
                    if key not in may_fail or len(wanted) == 1:
                        raise
                    fields = {"silkline.model": key, "error.message": error.message}
                    logger.error("a model is left out", extra={"ecs": fields})  # noqa: TRY400
            shares = divide(self.machine, {key: each.need for key, each in prepared.items()})
            self._served = ServedModels(
                self._model(key, each, shares[key]) for key, each in prepared.items()
            )
        except BaseException:
            for each in prepared.values():
                each.release()
            raise
        return self._served

    def model(self, key: str, prepared: Prepared, beside: Mapping[str, ServedModel]) -> ServedModel:
        """Returns a further model, which has not started; those beside it keep their shares.

        Raises:
            ConfigError: They need more than the machine has; or as `Prepared.pool`.
        """
        needs = {name: model.prepared.need for name, model in beside.items()}
        share = divide(self.machine, needs | {key: prepared.need})[key]
        return self._model(key, prepared, share)

    def _model(self, key: str, prepared: Prepared, share: Share) -> ServedModel:
        wanted = prepared.wanted
        create_pool: Callable[[], Pool] = partial(prepared.pool, share, lambda: _load(served))
        if wanted.cascade:
            name, below = wanted.served_name, wanted.escalate_below
            create_pool = partial(CascadePool, name, wanted.cascade, below, self._find)
        served: ServedModel = ServedModel(key, prepared, create_pool, self._admission, self.limits)
        return served

    def _find(self, name: str) -> ServedModel | None:
        return None if self._served is None else self._served.find(name)


def _load(model: ServedModel) -> Load:
    """What waits for the model's workers."""
    waits = model.admission.snapshot()
    return Load(waiting=waits.waiting, backlog_seconds=waits.backlog_seconds or 0.0)
