"""`silkline inspect`: what a model is, without loading it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import click
import msgspec
from rich.table import Table
from rich.text import Text

from silkline.cli.printing import print_result
from silkline.engines.registry import judge
from silkline.models.amounts import bytes_text, count_text
from silkline.models.decoder import Decoder
from silkline.models.inspection import IMAGES, ImageTokens, Inspection, inspect_model
from silkline.models.preprocessing import Preprocessing
from silkline.models.printable import printable
from silkline.models.resolve import locate_model
from silkline.models.support import Verdict
from silkline.models.weights import Weights

_SIZE = re.compile(r"(\d{1,6})[xX](\d{1,6})", re.ASCII)
_COLOURS = {
    Verdict.YES: "green",
    Verdict.ELSEWHERE: "yellow",
    Verdict.NO: "red",
}
_MAX_CHARACTERS = 2000
"""Of a cell of the table."""

_A_FEW = 3


def image_size(text: str) -> tuple[int, int]:
    """Reads a picture's width and height in pixels, written `1024x768`.

    Raises:
        click.BadParameter: The text is nothing of that kind, or a side is 0.
    """
    found = _SIZE.fullmatch(text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise click.BadParameter(f"{text!r} is not a size in pixels such as 1024x768.")
    return int(found[1]), int(found[2])


@click.command("inspect")
@click.argument("model")
@click.option(
    "--picture",
    "images",
    multiple=True,
    type=image_size,
    metavar="WxH",
    help="Tell the tokens of a picture of this size; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def inspect(model: str, images: tuple[tuple[int, int], ...], as_json: bool) -> None:
    """Tell what MODEL is, from its files alone: no weight is read and nothing is downloaded.

    MODEL is silkline-mini, a folder, a bundle, or a model of the Hugging Face hub that lies in the
    local cache: org/name or org/name@revision.
    """
    found = inspect_model(locate_model(model, os.environ), judge, images or IMAGES)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        _print(found)


def _print(found: Inspection) -> None:
    """A table of what the files tell, as they tell it: nothing in it is markup."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(Text(name), _text(value))
    for place, support in enumerate(found.engines):
        verdict = Text(support.verdict, style=_COLOURS[support.verdict])
        path = f", path={support.path}" if support.path else ""
        said = Text.assemble(support.engine, ": ", verdict, path, "; ", _text(support.why))
        table.add_row(Text("" if place else "engines"), said)
    for place, note in enumerate(found.notes):
        table.add_row(Text("" if place else "notes"), _text(note))
    print_result(table)


def _text(told: str) -> Text:
    """What a file says: no markup, and nothing that a terminal obeys."""
    return Text(printable(told, _MAX_CHARACTERS))


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "model", found.model + (f" @ {found.revision}" if found.revision else "")
    yield "folder", found.folder
    yield "licence", found.license or "not stated"
    named = "; ".join(filter(None, (found.model_type, ", ".join(found.architectures))))
    yield "family", (found.family or "unknown") + _in_brackets(named)
    yield from _weight_rows(found.weights, found.quantization)
    yield "on disk", bytes_text(found.disk_bytes)
    context = f"{found.context_length} tokens" if found.context_length else "not stated"
    answers = f", answers up to {found.max_new_tokens}" if found.max_new_tokens else ""
    yield "context", context + answers
    if found.decoder is not None:
        yield "decoder", _decoder(found.decoder)
    if found.kv_bytes_per_token is not None:
        sizes = (f"{bytes_text(size)} {dtype}" for dtype, size in found.kv_bytes_per_token.items())
        yield "KV cache a token", ", ".join(sizes)
    if found.preprocessing is not None:
        yield "preprocessing", _preprocessing(found.preprocessing)
    if found.image_tokens is not None:
        yield from _image_rows(found.image_tokens)


def _weight_rows(weights: Weights, quantization: str | None) -> Iterator[tuple[str, str]]:
    if weights.total is not None:
        yield "parameters", count_text(weights.total)
        for part, count in weights.parameters.items():
            yield f"  {part}", count_text(count)
    if weights.dtypes:
        packed = f", packed by {quantization}" if quantization else ""
        yield "dtypes", ", ".join(weights.dtypes) + packed
    if weights.files:
        yield "safetensors", f"{bytes_text(weights.bytes)} in {_files(len(weights.files))}"
    if weights.openvino:
        size = bytes_text(sum(weights.openvino.values()))
        yield "OpenVINO IR", f"{size} in {_files(len(weights.openvino))}"
    if weights.missing:
        size = f" of {bytes_text(weights.missing_bytes)}" if weights.missing_bytes else ""
        few = ", ".join(weights.missing[:_A_FEW])
        yield "missing", f"{_files(len(weights.missing))}{size}, such as {few}"
    if weights.pointers:
        size, few = (
            bytes_text(sum(weights.pointers.values())),
            ", ".join([*weights.pointers][:_A_FEW]),
        )
        yield "Git LFS pointers", f"{_files(len(weights.pointers))} of {size}, such as {few}"


def _decoder(decoder: Decoder) -> str:
    return (
        f"{decoder.model_type}: {decoder.layers} layers, width {decoder.hidden}, "
        f"{decoder.heads} heads, {decoder.kv_heads} KV heads of {decoder.head_dim}"
    )


def _preprocessing(steps: Preprocessing) -> str:
    said = ["to RGB"] if steps.rgb else []
    if steps.size:
        said.append(f"resize to {_lengths(steps.size)}" + _in_brackets(steps.resample))
    if steps.crop:
        said.append(f"crop {_lengths(steps.crop)}")
    if steps.rescale is not None:
        said.append(f"times 1/{1 / steps.rescale:.6g}" if steps.rescale else "times 0")
    if steps.mean:
        said.append(f"mean {_channels(steps.mean)}")
    if steps.std:
        said.append(f"std {_channels(steps.std)}")
    return ", ".join(said) or "not stated"


def _image_rows(tokens: ImageTokens) -> Iterator[tuple[str, str]]:
    if all(image.total == tokens.maximum for image in tokens.images):
        yield "tokens a picture", f"{tokens.maximum}, {tokens.rule}"
        return
    yield "tokens a picture", f"{tokens.rule}; at most {tokens.maximum}"
    for image in tokens.images:
        size = f"  {image.width} x {image.height}"
        markers = f" ({image.markers} of them markers)" if image.markers else ""
        yield size, image.refused or f"{image.total}{markers}"


def _lengths(lengths: dict[str, int]) -> str:
    if set(lengths) == {"height", "width"}:
        return f"{lengths['width']}x{lengths['height']}"
    return ", ".join(f"{name.replace('_', ' ')} {length}" for name, length in lengths.items())


def _channels(values: tuple[float, ...]) -> str:
    one = values[:1] if len(set(values)) == 1 else values
    return "/".join(f"{value:.4g}" for value in one)


def _in_brackets(text: str | None) -> str:
    return f" ({text})" if text else ""


def _files(count: int) -> str:
    return f"{count} file" + ("" if count == 1 else "s")
