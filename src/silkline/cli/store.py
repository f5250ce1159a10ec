"""`silkline store`: list or remove the exported models on this machine."""

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
_COLUMNS = ("key", "model", "family", "precision")


@click.command()
@click.option("--export-store", metavar="FOLDER", help="The store; by default, from the settings.")
@click.option("--remove", metavar="KEY", help="Remove an entry; a unique prefix is enough.")
@click.option("--clear", is_flag=True, help="Remove all entries and leftovers of killed exports.")
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file; by default silkline.toml in the working folder, if it exists.",
)
def store(
    export_store: str | None, remove: str | None, config: Path | None, *, clear: bool, as_json: bool
) -> None:
    """List or remove the models that `silkline up` exported.

    A removed model is exported again when it is next served.
    """
    settings = settings_from(config, {"export_store": export_store})
    kept = Store(store_folder(settings.engine.export_store, os.environ))
    entries = kept.entries()
    if clear or remove is not None:
        if clear:
            kept.sweep()
        _remove(kept, entries if clear else [_named(entries, remove or "")])
    elif as_json:
        click.echo(json.dumps([_json(entry) for entry in entries], indent=2))
    else:
        _print(entries)
        click.echo(f"\n{kept.folder}")


def _remove(kept: Store, entries: list[Entry]) -> None:
    """Removes all entries that it can, then raises the first error."""
    errors: list[EnvironmentFault] = []
    for entry in entries:
        try:
            kept.remove(entry.key)
        except EnvironmentFault as error:
            errors.append(error)
        else:
            click.echo(f"removed {entry.key}")
    if errors:
        raise errors[0]


def _named(entries: list[Entry], key: str) -> Entry:
    """Returns the entry whose key starts with `key`; raises `ConfigError` unless it is unique."""
    found = [entry for entry in entries if key and entry.key.startswith(key)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found)} entries of the store begin with {key!r}; expected one. "
            "Run: silkline store, to list them."
        )
    return found[0]


def _json(entry: Entry) -> dict[str, Any]:
    """An entry as a JSON object; a damaged entry has no model."""
    fields: dict[str, Any] = {"key": entry.key, "folder": str(entry.folder), "bytes": entry.size}
    if entry.bundle is not None:
        manifest = entry.bundle.manifest
        weights = next(iter(manifest.engines.values()))
        fields |= {
            "model": manifest.name,
            "family": manifest.family,
            "precision": weights.precision,
        }
    return fields


def _print(entries: list[Entry]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column)
    table.add_column("MB", justify="right")
    for entry in entries:
        fields = _json(entry)
        cells = [str(fields.get(name, "damaged")) for name in _COLUMNS]
        table.add_row(*(Text(printable(cell)) for cell in cells), Text(f"{entry.size / _MB:.1f}"))
    print_result(table)
