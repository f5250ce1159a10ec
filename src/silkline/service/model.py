"""From what the user calls a model to the files that an engine serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from silkline.config import EngineSettings
from silkline.engines.machine import this_machine
from silkline.engines.registry import check_engine, engine_spec
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import Bundle, EngineWeights
from silkline.models.gate import GateRecord, check_gate, read_gate
from silkline.models.label import label_of
from silkline.models.resolve import Kind, ModelLocation, locate_model, resolve_model
from silkline.models.source import Digests
from silkline.models.store import Hold, Store, store_folder

OnProgress = Callable[[str], None]
"""Called with what is being done, in words."""

logger = logging.getLogger("silkline.service")

_DIGESTS = "digests.json"
_REVISION_LENGTH = 12


class ModelFiles(NamedTuple):
    """What an engine serves.

    Attributes:
        folder: The model's folder.
        name: Its public name: the setting `served_name`, or where no manifest says one, the
            model's label; else empty.
        revision: Its short revision, likewise.
        hold: Keeps the folder from being removed, where it is an entry of the store; to be released
            when it is served no more.
        gate: What the gate found about a bundle; None if it was never gated.
        tuning: What a bundle says about its weights for the engine; None if it is no bundle, or has
            none for it.
    """

    folder: Path
    name: str
    revision: str
    hold: Hold | None = None
    gate: GateRecord | None = None
    tuning: EngineWeights | None = None

    def options(self, wanted: EngineSettings) -> dict[str, str]:
        """The engine's options: the user's, and for the rest the bundle's."""
        return (self.tuning.options if self.tuning else {}) | wanted.engine_options

    def threads(self, wanted: int) -> int:
        """Compute threads: the user's number, or else the bundle's; 0 lets the engine choose."""
        return wanted or (self.tuning.threads if self.tuning else 0)


def prepare_model(
    wanted: EngineSettings, engine: str, environment: Mapping[str, str], on_progress: OnProgress
) -> ModelFiles:
    """Finds a model, checks its files, and exports it where the engine needs that.

    This reads large files, and takes minutes where a model is exported for the first time.

    Args:
        wanted: Which model, and how it is exported.
        engine: The engine's name; not `auto`.
        environment: The process's variables, for the places of caches.
        on_progress: Called with what is being done.

    Raises:
        ConfigError: There is no such model, its files are damaged, its gate forbids to serve it, or
            the engine cannot serve it.
        EnvironmentFault: The model is not in the local cache, or what exports it is missing.
    """
    location = locate_model(wanted.model, environment)
    store = Store(store_folder(wanted.export_store, environment))
    if location.bundle is not None:
        key = store.key_of(location.folder)
        if key is None:
            return _bundle(wanted, engine)
        with _held(store, key) as hold:
            return _bundle(wanted, engine)._replace(hold=hold)
    check_engine(location, engine)
    on_progress("reading the model's files")
    digest = _digest(location, store.folder)
    name = wanted.served_name or label_of(location)
    plan = engine_spec(engine).export
    export = None if plan is None else plan(location, wanted, digest)
    if export is not None:
        with _held(store, export.key) as hold:
            return ModelFiles(export.make(store, on_progress), name, "", hold)
    commit = location.revision if location.kind is Kind.HUB else None
    return ModelFiles(location.folder, name, (commit or digest)[:_REVISION_LENGTH])


def _bundle(wanted: EngineSettings, engine: str) -> ModelFiles:
    """A bundle whose files are whole and whose gate allows to serve it here."""
    bundle = resolve_model(wanted.model)
    files = ModelFiles(
        bundle.folder, wanted.served_name, "", tuning=bundle.manifest.engines.get(engine)
    )
    if wanted.ungated:
        return files._replace(gate=_readable_gate(bundle))
    record = check_gate(bundle, engine)
    if record is not None and (other := _otherwise(record, wanted)):
        notice = (
            f"The bundle {bundle.manifest.name} was gated {other}, where its answers may differ. "
            "Run silkline gate here."
        )
        if wanted.gated_elsewhere == "refuse":
            raise ConfigError(f"{notice} To serve it as it is, use --gated-elsewhere warn.")
        logger.warning(notice)
    return files._replace(gate=record)


def answer_options(wanted: EngineSettings) -> dict[str, str]:
    """The settings, besides the model and its engine, that may change its answers."""
    sampling = wanted.sampling_defaults
    more = {} if sampling == "greedy" else {"sampling_defaults": sampling}
    return dict(wanted.engine_options) | more


def _otherwise(record: GateRecord, wanted: EngineSettings) -> str:
    """How a gate's circumstances differ from those here; empty if they are the same."""
    here, options = this_machine().kind, answer_options(wanted)
    if record.machine.kind != here:
        return f"on {record.machine.kind}, and this is {here}"
    if record.options != options:
        return f"with the options {_told(record.options)}, and is served with {_told(options)}"
    return ""


def _told(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items())) or "none"


def _readable_gate(bundle: Bundle) -> GateRecord | None:
    try:
        return read_gate(bundle)
    except ConfigError:
        return None


@contextmanager
def _held(store: Store, key: str) -> Iterator[Hold]:
    """Holds an entry of the store for good, unless what is done with it fails."""
    hold = store.hold(key)
    try:
        yield hold
    except BaseException:
        hold.release()
        raise


def _digest(location: ModelLocation, store: Path) -> str:
    try:
        return Digests(store / _DIGESTS).folder(location.folder)
    except OSError as error:
        raise EnvironmentFault(
            f"A file of {location.model} cannot be read: {error.strerror}."
        ) from error
