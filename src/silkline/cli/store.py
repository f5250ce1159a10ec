"""`silkline store`: the exported models that are kept on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from silkline.cli.printing import print_result
from silkline.config import settings_from
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.printable import printable
from silkline.models.store import Entry, Store, store_folder

_MB = 1_000_000


@click.command()
@click.option("--export-store", metavar="FOLDER", help="The store; else the one of the settings.")
@click.option("--remove", metavar="KEY", help="Remove an entry; the first characters are enough.")
@click.option("--clear", is_flag=True, help="Remove all entries, and what killed exports left.")
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file; silkline.toml in the working folder is read by itself.",
)
def store(
    export_store: str | None, remove: str | None, config: Path | None, *, clear: bool, as_json: bool
) -> None:
    """List the models that `silkline up` has exported, or remove them.

    A model that is removed is exported again when it is served next.
    """
    settings = settings_from(config, {"export_store": export_store})
    kept = Store(store_folder(settings.engine.export_store, os.environ))
    entries = kept.entries()
    if clear or remove is not None:
        if clear:
            kept.sweep()
        _remove(kept, entries if clear else [_named(entries, remove or "")])
    elif as_json:
        click.echo(json.dumps([_told(entry) for entry in entries], indent=2))
    else:
        _print(entries)
        click.echo(f"\n{kept.folder}")


def _remove(kept: Store, entries: list[Entry]) -> None:
    """Removes what can be removed; raises for the first that cannot, when the others are gone."""
    refused: list[EnvironmentFault] = []
    for entry in entries:
        try:
            kept.remove(entry.key)
        except EnvironmentFault as error:
            refused.append(error)
        else:
            click.echo(f"removed {entry.key}")
    if refused:
        raise refused[0]


def _named(entries: list[Entry], key: str) -> Entry:
    """Raises `ConfigError` unless the key is the beginning of exactly one."""
    found = [entry for entry in entries if key and entry.key.startswith(key)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} entries of the store begin with {key!r}; expected one. List them: "
            "silkline store."
        )
    return found[0]


def _told(entry: Entry) -> dict[str, Any]:
    """An entry in JSON; a damaged one has no model."""
    told: dict[str, Any] = {"key": entry.key, "folder": str(entry.folder), "bytes": entry.size}
    if entry.bundle is not None:
        manifest = entry.bundle.manifest
        weights = next(iter(manifest.engines.values()))
        told |= {"model": manifest.name, "family": manifest.family, "precision": weights.precision}
    return told


def _print(entries: list[Entry]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("key", "model", "family", "precision"):
        table.add_column(column)
    table.add_column("MB", justify="right")
    for entry in entries:
        told = _told(entry)
        said = [str(told.get(name, "damaged")) for name in ("key", "model", "family", "precision")]
        table.add_row(*(Text(printable(word)) for word in said), Text(f"{entry.size / _MB:.1f}"))
    print_result(table)
