"""Adds, replaces and removes models while requests run, for the admin API and SIGHUP.

A new model is loaded before it takes the place of the old one, which then finishes its requests;
a model that does not start changes nothing. Changes run one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from silkline.admission.limits import Limits
from silkline.config import ModelSettings, Settings, check_together, with_defaults
from silkline.errors import (
    ConfigError,
    EnvironmentFault,
    Forbidden,
    InternalFault,
    InvalidRequest,
    ModelConflict,
    ModelNotFound,
    ModelNotStarted,
    SilklineError,
    WorkerLost,
)
from silkline.models.amounts import bytes_text
from silkline.service.allowed_models import is_allowed
from silkline.service.budget import divide, fits_beside
from silkline.service.loader import ModelLoader, bases_first
from silkline.service.model_changes import ModelChanges
from silkline.service.models import ServedModels
from silkline.service.pool import Prepared
from silkline.service.served_model import ServedModel

logger = logging.getLogger("silkline.models")

_DRAIN_MARGIN_SECONDS = 5.0
"""Beyond the timeout of requests, so that each ends with its own answer or error."""

_WHY: dict[type[SilklineError], str] = {
    ConfigError: "its files or settings cannot be used",
    EnvironmentFault: "this machine lacks something that it needs",
    WorkerLost: "its worker ended or took too long",
    InternalFault: "its engine failed at it",
}
_NOT_STARTED: tuple[type[SilklineError], ...] = tuple(_WHY)


class Deployment:
    """The served models, and what changes them while requests run."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        loader: ModelLoader | None = None,
        changes: ModelChanges | None = None,
        reread: Callable[[], Settings] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Takes models that need not have started.

        Args:
            settings: The settings.
            models: The models that they describe, with the changes.
            loader: Makes further models; None if the models cannot be changed.
            changes: The changes so far.
            reread: Reads the settings again; None if they come from no file.
            limits: The tenants' rate limits, if the models have not those of the loader.
        """
        self.settings = settings
        self.limits = limits or (loader.limits if loader else Limits(time.monotonic))
        self.models = models
        self._loader = loader
        self._changes = changes or ModelChanges("")
        self._reread = reread
        self._changing = asyncio.Lock()
        # Of the settings that the server runs with: a new request_timeout needs a restart.
        self._drain_seconds = settings.server.request_timeout + _DRAIN_MARGIN_SECONDS
        self._starting: ServedModel | None = None
        self._reloading: set[asyncio.Task[None]] = set()

    @property
    def reloads(self) -> bool:
        """Whether the settings can be read again."""
        return self._reread is not None

    async def start(self) -> None:
        """Starts all models; one that the admin API added may fail, and stays unloaded.

        Changes wait until all have started: a model that is removed while it starts would end it.

        Raises:
            SilklineError: A model of the settings cannot start.
        """
        async with self._changing:
            added = {model.key for model in self.models if self._changes.changed(model.key)}
            await self.models.start(may_fail=added)

    async def aclose(self) -> None:
        """Closes all models, also one that is being started; ends reloads. Idempotent."""
        for reload in self._reloading:
            reload.cancel()
        await asyncio.gather(*self._reloading, return_exceptions=True)
        if self._starting is not None:
            await self._starting.aclose()
        await self.models.aclose()

    def is_changed(self, model: ServedModel) -> bool:
        """Whether a model is as the admin API set it, and not as in the settings."""
        return self._changes.changed(model.key)

    async def add(self, name: str, table: ModelSettings, by: str) -> ServedModel:
        """Serves another model; returns it when it has started.

        Args:
            name: Its name in the API.
            table: Its settings; what they leave out is taken from `[engine]`.
            by: Who changes it, for the log.

        Raises:
            ModelConflict: The name or an alias is taken, or it does not fit beside the others.
            Forbidden: The owner does not allow the model.
            ModelNotStarted: It could not be started.
        """
        async with self._changing:
            if self.models.find(name) is not None:
                raise ModelConflict(
                    f"There is a model {name} already. Replace it with PUT, or use another name.",
                    param="name",
                )
            return await self._put(name, name, table, by)

    async def put(self, name: str, table: ModelSettings, by: str) -> tuple[ServedModel, bool]:
        """Adds or replaces a model; returns it when it has started, and whether it is a new one.

        The model that it replaces finishes its requests. Arguments and errors are those of `add`.
        """
        async with self._changing:
            old = self.models.find(name)
            model = await self._put(name if old is None else old.key, name, table, by)
            return model, old is None

    async def remove(self, name: str, by: str) -> None:
        """Removes a model; it finishes its requests.

        Raises:
            ModelNotFound: There is no such model.
            ModelConflict: It is the only one, or a cascade asks it.
        """
        async with self._changing:
            model = self.models.find(name)
            if model is None:
                raise ModelNotFound(f"There is no model {name}.", param="name")
            if len(self.models) == 1:
                raise ModelConflict(
                    f"The model {name} is the only one. Add another first, or replace it."
                )
            rest = {each.key: each.prepared.wanted for each in self.models if each is not model}
            try:
                check_together(rest)
            except ValueError as error:
                raise ModelConflict(f"The model {name} cannot be removed: {error}.") from None
            await self._record(model.key, name, None)
            self.models.remove(model, self._drain_seconds)
            _audit("model removed", model, by)

    def request_reload(self) -> None:
        """Begins to read the settings again; call it in the event loop."""
        task = asyncio.get_running_loop().create_task(self.reload(), name="reload models")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def reload(self) -> None:
        """Reads the settings again, and applies what changed in the models; never raises.

        An invalid file changes nothing, and a model that does not start leaves the old one.
        """
        if self._reread is None:
            return
        async with self._changing:
            try:
                settings = await asyncio.to_thread(self._reread)
                wanted = self._changes.applied(settings)
            except SilklineError as error:
                _failed("the settings are invalid; the models stay", "", error)
                return
            _warn_of_other_sections(self.settings, settings)
            self.settings = settings
            for key, model_settings in bases_first(wanted):
                await self._reload_model(key, model_settings)
            for model in self.models:
                if model.key not in wanted and len(self.models) > 1:
                    self.models.remove(model, self._drain_seconds)
                    _audit("model removed", model, "SIGHUP")
            self.models.reorder(wanted)
            logger.info("settings reloaded", extra={"ecs": {"silkline.models": len(self.models)}})

    async def _reload_model(self, key: str, wanted: ModelSettings) -> None:
        old = self.models.get(key)
        if old is not None and old.prepared.wanted == wanted:
            return
        try:
            model, adapted = await self._with_adapters(key, wanted)
        except SilklineError as error:
            _failed("a model cannot be started; the old one stays", wanted.served_name, error)
            return
        self._place(model, adapted)
        _audit("model added" if old is None else "model replaced", model, "SIGHUP")

    async def _put(self, key: str, name: str, table: ModelSettings, by: str) -> ServedModel:
        self._changing_loader()
        wanted = self._checked(key, name, table)
        old = self.models.get(key)
        try:
            model, adapted = await self._with_adapters(key, wanted)
        except _NOT_STARTED as error:
            _failed("a model cannot be started", name, error)
            raise ModelNotStarted(
                f"The model {name} was not started: {_WHY[type(error)]}. The server's log has the "
                "reason, and `silkline inspect` on that machine tells what the files lack."
            ) from error
        try:
            await self._record(key, name, table)
        except BaseException:
            for each in (*adapted, model):
                await each.aclose()
            raise
        self._place(model, adapted)
        _audit("model added" if old is None else "model replaced", model, by)
        return model

    def _place(self, model: ServedModel, adapted: Sequence[ServedModel]) -> None:
        """Puts a model and its adapters into the table; the old ones finish their requests."""
        for each in (model, *adapted):
            self.models.put(each, self._drain_seconds)

    async def _with_adapters(
        self, key: str, wanted: ModelSettings
    ) -> tuple[ServedModel, list[ServedModel]]:
        """Returns a model that has started, and anew the adapters that stand on the old one.

        Each is tied to its own base, so requests that are in flight keep both.
        """
        base = await self._started(key, wanted)
        adapted: list[ServedModel] = []
        try:
            for old in self.models:
                if old.base is not None and old.base.key == key:
                    beside = {model.key: model for model in (*self.models, base)}
                    adapted.append(await self._started_beside(old.key, old.prepared.wanted, beside))
        except BaseException:
            for model in (*adapted, base):
                await model.aclose()
            raise
        return base, adapted

    def _checked(self, key: str, name: str, table: ModelSettings) -> ModelSettings:
        """Returns a table with the values of `[engine]`; its names and its model are allowed."""
        try:
            wanted = with_defaults(self.settings.engine, name, table)
        except ValueError as error:
            raise InvalidRequest(f"The model's settings are wrong: {error}.") from error
        names = {model.key: model.prepared.wanted for model in self.models} | {key: wanted}
        others = [model for model in self.models if model.key != key]
        taken = {name for model in others for name in (model.name, *model.aliases)}
        try:
            check_together(names)
        except ValueError as error:
            raise ModelConflict(f"The model cannot be served beside the others: {error}.") from None
        if clash := taken & {name, *wanted.aliases}:
            raise ModelConflict(f"The name {min(clash)} belongs to another model.")
        if not wanted.cascade and not is_allowed(wanted.loads, self.settings):
            raise Forbidden(
                "The server's owner does not allow this model. Models that the admin API may load "
                "are listed in the setting allowed_models.",
                param="model",
            )
        return wanted

    async def _started(self, key: str, wanted: ModelSettings) -> ServedModel:
        """Returns a model that has started, and is not yet in the table."""
        beside = {model.key: model for model in self.models}
        return await self._started_beside(key, wanted, beside)

    async def _started_beside(
        self, key: str, wanted: ModelSettings, beside: Mapping[str, ServedModel]
    ) -> ServedModel:
        loader = self._changing_loader()
        known = {each: model.prepared for each, model in beside.items()}
        prepared = await loader.prepared(wanted, known)
        try:
            model = loader.model(key, prepared, self._beside(key, prepared, beside))
        except BaseException:
            prepared.release()
            raise
        self._starting = model
        try:
            await model.start()
        except BaseException:
            await model.aclose()
            raise
        finally:
            self._starting = None
        return model

    def _beside(
        self, key: str, prepared: Prepared, beside: Mapping[str, ServedModel]
    ) -> Mapping[str, ServedModel]:
        """Returns the models that stay beside a new one, if it fits beside all that are loaded.

        Raises:
            ModelConflict: It does not.
        """
        machine = self._changing_loader().machine
        stay = {each: model for each, model in beside.items() if each != key}
        needs = {model.name: model.prepared.need for model in stay.values()}
        try:
            divide(machine, needs | {prepared.wanted.served_name: prepared.need})
        except ConfigError as error:
            raise ModelConflict(error.message) from error
        loaded = [model.prepared.need for model in (*self.models, *self.models.retiring)]
        if len(loaded) > len(stay) and not fits_beside(machine, loaded, prepared.need):
            raise ModelConflict(
                f"The new model needs {bytes_text(prepared.need.memory_bytes)} of memory while the "
                "old one still runs, and there is not as much. Remove the old one first, then add "
                "the new one."
            )
        return stay

    def _changing_loader(self) -> ModelLoader:
        if self._loader is None:
            raise ModelConflict(
                "The models of a server with several gateway processes cannot be changed while it "
                "runs. Start it with processes = 1 for that."
            )
        return self._loader

    async def _record(self, key: str, name: str, table: ModelSettings | None) -> None:
        await asyncio.to_thread(self._changes.record, key, name, table, self.settings)


def _audit(what: str, model: ServedModel, by: str) -> None:
    fields = {"silkline.model": model.name, "silkline.by": by}
    if model.has_started:
        fields["silkline.revision"] = model.info.revision
    logger.info(what, extra={"ecs": fields})


def _failed(what: str, name: str, error: SilklineError) -> None:
    fields = {"silkline.model": name, "error.message": error.message}
    logger.error(what, extra={"ecs": fields})


def _warn_of_other_sections(old: Settings, new: Settings) -> None:
    allowed = {"allowed_models": new.admin.allowed_models}
    applied = {
        "engine": new.engine,
        "models": new.models,
        "admin": old.admin.model_copy(update=allowed),
    }
    running = old.model_copy(update=applied)
    changed = [
        name for name in Settings.model_fields if getattr(running, name) != getattr(new, name)
    ]
    if changed:
        logger.warning(
            "changed settings need a restart", extra={"ecs": {"silkline.sections": changed}}
        )
