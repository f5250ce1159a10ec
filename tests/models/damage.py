"""Fifty ways to damage a folder with a model, or to leave out what it can do without."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
THIRD = "model-00002-of-00003.safetensors"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"

Harm = Callable[[Path], None]


@dataclass(frozen=True)
class Damage:
    """One folder.

    Attributes:
        name: What is wrong with it, or different.
        harm: Makes it so of a good one.
        told: What `inspect` and the start both say where it cannot be served; empty where it can.
    """

    name: str
    harm: Harm
    told: tuple[str, ...] = ()


def pointer(size: int) -> bytes:
    """A Git LFS pointer to a file of so many bytes."""
    digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    head = "version https://git-lfs.github.com/spec/v1"
    return f"{head}\noid sha256:{digest}\nsize {size}\n".encode()


def without(*names: str) -> Harm:
    def harm(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return harm


def with_file(name: str, content: bytes) -> Harm:
    return lambda folder: _ignored((folder / name).write_bytes(content))


def cut(name: str, share: float) -> Harm:
    def harm(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return harm


def moved(name: str, other: str) -> Harm:
    return lambda folder: _ignored((folder / name).rename(folder / other))


def changed(name: str, **values: Any) -> Harm:
    def harm(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps(content))

    return harm


def after(*harms: Harm) -> Harm:
    def harm(folder: Path) -> None:
        for each in harms:
            each(folder)

    return harm


def in_shards(folder: Path) -> None:
    """The same weights in two files and an index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    half = len(names) // 2
    for shard, part in ((FIRST, names[:half]), (SECOND, names[half:])):
        save_file({name: tensors[name] for name in part}, folder / shard, {"format": "pt"})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    placed = dict.fromkeys(names[:half], FIRST) | dict.fromkeys(names[half:], SECOND)
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / WEIGHTS).unlink()


def lacking_a_tensor(folder: Path) -> None:
    in_shards(folder)
    tensors = load_file(folder / FIRST)
    tensors.pop(min(tensors))
    save_file(tensors, folder / FIRST, {"format": "pt"})


def image_processor_inside(folder: Path) -> None:
    image = json.loads((folder / "preprocessor_config.json").read_text())
    changed("processor_config.json", image_processor=image)(folder)
    (folder / "preprocessor_config.json").unlink()


def template_inside(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    changed("tokenizer_config.json", chat_template=template)(folder)
    (folder / "chat_template.jinja").unlink()


def packed(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({name: tensor.int() for name, tensor in tensors.items()}, folder / WEIGHTS)


def adapter(base: str | None) -> Harm:
    config = json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}).encode()
    return after(
        moved(WEIGHTS, "adapter_model.safetensors"), with_file("adapter_config.json", config)
    )


def linked_to_nothing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder / "blobs" / "gone")


def _ignored(_: object) -> None:
    pass


def downloaded(**commits: str) -> Harm:
    """With the notes that `hf download --local-dir` leaves, of shards by their number."""

    def harm(folder: Path) -> None:
        notes = folder / ".cache" / "huggingface" / "download"
        notes.mkdir(parents=True)
        for name, commit in zip((FIRST, SECOND), commits.values(), strict=True):
            (notes / f"{name}.metadata").write_text(f"{commit * 40}\n0\n0\n")

    return harm


def of_three(folder: Path) -> None:
    """A shard of another split, which the index names."""
    (folder / SECOND).rename(folder / THIRD)
    (folder / INDEX).write_text((folder / INDEX).read_text().replace(SECOND, THIRD))


def only(*kept: str) -> Harm:
    def harm(folder: Path) -> None:
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()

    return harm


ADAPTER = ("adapter (LORA) for org/base", "silkline merge ")
IMAGES, TOKENIZER = "preprocessor_config.json", "tokenizer.json"
TEMPLATE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"

DAMAGES = (
    Damage("nothing", lambda folder: None),
    Damage("no config", without("config.json"), ("config.json",)),
    Damage("empty config", with_file("config.json", b""), ("config.json is empty (0 bytes)",)),
    Damage("config cut off", cut("config.json", 0.5), ("config.json is not a JSON object",)),
    Damage(
        "config a pointer",
        with_file("config.json", pointer(1200)),
        ("config.json is a Git LFS pointer", "1.20 kB", "git lfs pull"),
    ),
    Damage("config a web page", with_file("config.json", PAGE), ("config.json is a web page",)),
    Damage(
        "unknown family",
        changed("config.json", model_type="nobodys_vl", architectures=["NobodysModel"]),
        ("family nobodys_vl",),
    ),
    Damage(
        "no vision tower",
        after(
            with_file(
                "config.json", b'{"model_type":"llama","architectures":["LlamaForCausalLM"]}'
            ),
            without("preprocessor_config.json"),
        ),
        ("language model without a vision tower",),
    ),
    Damage("no image processor", without(IMAGES), (f"no {IMAGES}",)),
    Damage("image processor in processor_config", image_processor_inside),
    Damage("image processor cut off", cut(IMAGES, 0.9), (f"{IMAGES} is not a JSON",)),
    Damage("no processor_config", without("processor_config.json")),
    Damage(
        "processor_config a pointer",
        with_file("processor_config.json", pointer(300)),
        ("processor_config.json is a Git LFS pointer",),
    ),
    Damage("no tokenizer", without(TOKENIZER), (f"no {TOKENIZER}",)),
    Damage("empty tokenizer", with_file(TOKENIZER, b""), (f"{TOKENIZER} is empty",)),
    Damage("tokenizer cut off", cut(TOKENIZER, 0.7), (f"{TOKENIZER} is not a whole tokenizer",)),
    Damage(
        "tokenizer a pointer",
        with_file(TOKENIZER, pointer(17_082_660)),
        (f"{TOKENIZER} is a Git LFS pointer", "17.08 MB", "hf download"),
    ),
    Damage("tokenizer without a model", with_file(TOKENIZER, b"{}"), (f"{TOKENIZER} is not",)),
    Damage(
        "tokenizer.model a pointer, alone",
        after(without(TOKENIZER), with_file("tokenizer.model", pointer(499_723))),
        ("tokenizer.model is a Git LFS pointer",),
    ),
    Damage("tokenizer.model a pointer", with_file("tokenizer.model", pointer(499_723))),
    Damage(
        "vocabulary without merges",
        after(without(TOKENIZER), with_file("vocab.json", b'{"a": 0}')),
        ("vocab.json alone is not enough",),
    ),
    Damage("tokenizer's settings cut off", cut(SETTINGS, 0.5), (f"{SETTINGS} is not a JSON",)),
    Damage("no special_tokens_map", without("special_tokens_map.json")),
    Damage("no chat template", without(TEMPLATE), ("no chat template", TEMPLATE)),
    Damage("empty chat template", with_file(TEMPLATE, b""), (f"{TEMPLATE} is empty",)),
    Damage("chat template cut off", cut(TEMPLATE, 0.7), ("chat template is cut off",)),
    Damage("chat template a pointer", with_file(TEMPLATE, pointer(99)), (f"{TEMPLATE} is a Git",)),
    Damage("chat template in Latin-1", with_file(TEMPLATE, b"\xe9"), (f"{TEMPLATE} is not text",)),
    Damage("chat template elsewhere", template_inside),
    Damage("no weights", without(WEIGHTS), ("no safetensors", WEIGHTS)),
    Damage("empty weights", with_file(WEIGHTS, b""), (f"{WEIGHTS} is empty",)),
    Damage(
        "weights a pointer",
        with_file(WEIGHTS, pointer(14_126_854_144)),
        ("14.13 GB of its weights are not here", "Git LFS pointers", WEIGHTS, "git lfs pull"),
    ),
    Damage("weights cut off", cut(WEIGHTS, 0.5), (f"{WEIGHTS} is not a whole", "cut off")),
    Damage("weights an error page", with_file(WEIGHTS, b"Entry not found"), (WEIGHTS,)),
    Damage("weights a broken link", linked_to_nothing, (WEIGHTS,)),
    Damage("weights of another name", moved(WEIGHTS, "llava.safetensors"), ("llava.safetensors",)),
    Damage("shards", in_shards),
    Damage("a shard missing", after(in_shards, without(SECOND)), (SECOND, INDEX, "kB")),
    Damage(
        "a shard a pointer",
        after(in_shards, with_file(SECOND, pointer(5 * 10**9))),
        (SECOND, "5.00 GB", "Git LFS pointers"),
    ),
    Damage("a shard cut off", after(in_shards, cut(SECOND, 0.5)), (SECOND, "cut off")),
    Damage("shards without an index", after(in_shards, without(INDEX)), (INDEX,)),
    Damage("index cut off", after(in_shards, cut(INDEX, 0.5)), (f"{INDEX} is not a JSON object",)),
    Damage("a tensor missing", lacking_a_tensor, ("1 tensors are not in the shards",)),
    Damage(
        "pickled weights", moved(WEIGHTS, "pytorch_model.bin"), ("pickled (pytorch_model.bin)",)
    ),
    Damage("a pickle beside", with_file("pytorch_model.bin", pointer(10**9))),
    Damage("ONNX only", moved(WEIGHTS, "model.onnx"), ("model.onnx",)),
    Damage(
        "quantised", changed("config.json", quantization_config={"quant_method": "awq"}), ("awq",)
    ),
    Damage("mlx", changed("config.json", quantization={"bits": 4}), ("quantised (mlx)",)),
    Damage("packed, and nothing says so", packed, ("weights are quantised",)),
    Damage("an adapter", adapter("org/base"), ADAPTER),
    Damage("an adapter alone", after(adapter("org/base"), without("config.json")), ADAPTER),
    Damage("an adapter of nobody", adapter(None), ("adapter (LORA) without its base",)),
    Damage(
        "generation_config cut off",
        cut("generation_config.json", 0.5),
        ("generation_config.json is not a JSON object",),
    ),
    Damage(
        "config a pointer, no tokenizer, weights cut off",
        after(with_file("config.json", pointer(1200)), without(TOKENIZER), cut(WEIGHTS, 0.5)),
        ("config.json is a Git LFS pointer", f"no {TOKENIZER}", f"{WEIGHTS} is not a whole"),
    ),
    Damage(
        "no image processor, tokenizer a pointer, no template, a shard missing",
        after(
            in_shards,
            without(IMAGES, TEMPLATE, SECOND),
            with_file(TOKENIZER, pointer(99)),
        ),
        (f"no {IMAGES}", f"{TOKENIZER} is a Git LFS pointer", "no chat template", SECOND),
    ),
    Damage(
        "two shards cut off, and an image processor that is a web page",
        after(in_shards, cut(FIRST, 0.5), cut(SECOND, 0.9), with_file(IMAGES, PAGE)),
        (f"{FIRST} is not a whole", f"{SECOND} is not a whole", f"{IMAGES} is a web page"),
    ),
    Damage(
        "settings of the tokenizer cut off, generation_config a pointer, weights a pointer",
        after(
            cut(SETTINGS, 0.5),
            with_file("generation_config.json", pointer(99)),
            with_file(WEIGHTS, pointer(10**9)),
        ),
        (f"{SETTINGS} is not a JSON", "generation_config.json is a Git", "1.00 GB"),
    ),
    Damage(
        "an adapter of nobody without a tokenizer",
        after(adapter(None), without("config.json", TOKENIZER)),
        ("adapter (LORA) without its base",),
    ),
    Damage("only weights", only(WEIGHTS), ("without the config.json", f"no {TOKENIZER}", IMAGES)),
    Damage(
        "only pickled weights",
        after(moved(WEIGHTS, "pytorch_model.bin"), only("pytorch_model.bin")),
        ("without the config.json", "pickled (pytorch_model.bin)", f"no {TOKENIZER}"),
    ),
    Damage("an empty folder", only(), ("is empty", "config.json")),
    Damage(
        "shards of two commits",
        after(in_shards, downloaded(first="a", second="b")),
        ("of 2 revisions", f"{FIRST} is of aaaaaaaaaaaa", f"{SECOND} is of bbbbbbbbbbbb"),
    ),
    Damage("shards of one commit", after(in_shards, downloaded(first="a", second="a"))),
    Damage("shards of two splits", after(in_shards, of_three), ("several revisions", THIRD)),
)
