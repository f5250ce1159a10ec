"""`silkline merge`: write a model with an adapter merged into it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from silkline.cli.progress import progress_bar
from silkline.optimize.lora import merge_adapter


@click.command()
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option(
    "--base",
    default="",
    metavar="MODEL",
    help="The model that it was trained on; by default the one that the adapter names.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the merged model.",
)
def merge(adapter: Path, base: str, out: Path) -> None:
    """Merge a LoRA adapter into its base model, for any engine to serve.

    ADAPTER is a folder as the library peft saves it.
    """
    with progress_bar(quiet=False) as bar:
        merged = merge_adapter(
            adapter,
            out,
            os.environ,
            base=base,
            on_shard=lambda done, total: bar.show("merging", done, total, "files of weights"),
        )
    click.echo(
        f"merged {merged.layers} layers and {merged.replaced} whole tensors into {merged.base}\n"
        f"serve it: silkline up {out}"
    )
