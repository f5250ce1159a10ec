"""Trains a teacher for easy-VQA: ``python -m recipes.easyvqa.train --out DIR``.

Leaves the model in transformers' format in ``DIR/model`` and the evaluation sets in ``DIR/data``.
A second call with the same ``--out`` continues exactly where the first one ended.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from recipes.easyvqa.data import (
    COLORS,
    SHAPES,
    Scene,
    Split,
    group_of,
    load_pixels,
    normalised,
    scenes,
    varied,
)
from recipes.easyvqa.evaluation_set import write_sets
from recipes.easyvqa.packing import Packer
from recipes.mini.chat import END_ID
from recipes.mini.model import Layout, build_model, save_bundle
from recipes.mini.tokenizer import train_tokenizer
from silkline.distil.curve import Point
from silkline.distil.optimiser import Rates, hybrid
from silkline.distil.training import Schedule, Training

TEACHER = Layout(
    width=96, heads=3, tower_layers=3, decoder_layers=2, intermediate=256, picture_size=64,
    patch_size=8,
)  # fmt: skip
"""0.6 million parameters; 64 image tokens."""

VOCABULARY = 448
BATCH = 16
QUESTIONS = 6
"""Questions about a picture in a step."""

STEPS = 6_000
NAME_STEPS = 600
"""Of these, the first, in which only the tower learns, to name shapes and colours."""

RATES = Rates(muon=0.007, adam=8e-4)
"""Lower than the usual ones, at which the decoder does not begin to compare what it is asked with
what it sees."""

_NAMES = {"shape": sorted(SHAPES), "color": sorted(COLORS)}
_UNTOLD = -100
"""Label of a picture whose shape or colour no answer tells."""


class TeacherTask:
    """The training of the teacher: its batches, its loss, and how it does on validation."""

    def __init__(
        self, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, seed: int
    ) -> None:
        """``seed`` fixes the batches."""
        width = model.config.vision_config.hidden_size
        heads = {f"{kind}_head": nn.Linear(width, len(names)) for kind, names in _NAMES.items()}
        self._heads = nn.ModuleDict(heads).to(model.device)
        self.model: nn.Module = nn.ModuleDict({"llava": model, "heads": self._heads})
        self.identity = hashlib.sha256(
            repr((TEACHER, BATCH, QUESTIONS, NAME_STEPS, seed)).encode()
        ).hexdigest()[:16]
        self._llava, self._seed = model, seed
        self._packer = Packer(tokenizer, TEACHER.image_tokens)
        self._train, self._validation = scenes(Split.TRAIN), scenes(Split.VALIDATION)
        self._pixels = load_pixels(self._train)
        self._held_out = load_pixels(self._validation)
        self._device = next(model.parameters()).device
        counts = Counter(group_of(*pair) for scene in self._train for pair in scene.pairs)
        self._weights = {group: 1 / count for group, count in counts.items()}

    def loss(self, step: int) -> Tensor:
        """Return the next-token loss on the answers of a batch, plus the loss of the names.

        From answers alone, a tower this small does not begin to see shapes. So it first learns to
        name, from the mean of its features, the shape and the colour that answers tell.
        """
        per_epoch = len(self._train) // BATCH
        epoch, number = divmod(step, per_epoch)
        order = torch.randperm(
            len(self._train), generator=torch.Generator().manual_seed(self._seed + epoch)
        )
        chosen = order[number * BATCH : (number + 1) * BATCH]
        draws = torch.Generator().manual_seed(self._seed + 1_000_003 * (step + 1))
        pixels = varied(self._pixels[chosen], draws)
        own = [self._train[index] for index in chosen.tolist()]
        if step < NAME_STEPS:
            return self._name_loss(self._seen(pixels).mean(1), own)
        asked = [_some(scene, self._weights, draws) for scene in own]
        logits, wanted, features = self._forward(pixels, asked)
        answers = nn.functional.cross_entropy(logits, wanted)
        return answers + self._name_loss(features.mean(1), own)

    def _name_loss(self, pooled: Tensor, found: list[Scene]) -> Tensor:
        """Loss of the shape's and the colour's name, of pictures where an answer tells it."""
        total = pooled.new_zeros(())
        for kind, names in _NAMES.items():
            told = [scene.told(frozenset(names)) for scene in found]
            labels = [_UNTOLD if name is None else names.index(name) for name in told]
            if any(name is not None for name in told):
                wanted = torch.tensor(labels, device=pooled.device)
                logits = self._heads[f"{kind}_head"](pooled)
                total = total + nn.functional.cross_entropy(logits, wanted, ignore_index=_UNTOLD)
        return total

    def held_out(self) -> tuple[float, float]:
        """Return the loss on the validation scenes, and the share of right answers."""
        total, right, tokens, answers = 0.0, 0, 0, 0
        for start in range(0, len(self._validation), BATCH):
            part = self._validation[start : start + BATCH]
            logits, wanted, _ = self._forward(self._held_out[start : start + BATCH], part)
            total += float(nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            tokens += len(wanted)
            rest = (logits.argmax(-1) == wanted).tolist()
            for length in _lengths(wanted.tolist()):
                right += all(rest[:length])
                rest = rest[length:]
                answers += 1
        return total / tokens, right / answers

    def _seen(self, pixels: Tensor) -> Tensor:
        """The tower's features of each patch."""
        tower = self._llava.model.vision_tower
        features: Tensor = tower(normalised(pixels).to(self._device)).last_hidden_state
        return features[:, 1:]

    def _forward(self, pixels: Tensor, found: list[Scene]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits at the answers' tokens, these tokens, and the tower's features."""
        packed = self._packer.pack(found)
        inner = self._llava.model
        device = self._device
        seen = self._seen(pixels)
        features = inner.multi_modal_projector(seen)
        ids, labels = packed.ids.to(device), packed.labels.to(device)
        embed = inner.language_model.get_input_embeddings()
        embeds = embed(ids)
        tokens = TEACHER.image_tokens
        embeds = torch.cat([embeds[:, :1], features, embeds[:, 1 + tokens :]], dim=1)
        hidden = inner.language_model(
            inputs_embeds=embeds, attention_mask=packed.mask.to(device),
            position_ids=packed.positions.to(device), use_cache=False,
        ).last_hidden_state  # fmt: skip
        wanted = labels[:, 1:]
        chosen = wanted != -100
        return nn.functional.linear(hidden[:, :-1][chosen], embed.weight), wanted[chosen], seen


def _some(scene: Scene, weights: Mapping[str, float], generator: torch.Generator) -> Scene:
    """Return a scene with some of its questions, drawn so that each group comes equally often.

    Most questions name a colour that is not there. Drawn evenly, they teach to say so to each
    colour, without a look at the image.
    """
    chances = torch.tensor([weights[group_of(*pair)] for pair in scene.pairs])
    drawn = torch.multinomial(chances, min(QUESTIONS, len(chances)), generator=generator)
    return replace(scene, pairs=tuple(scene.pairs[number] for number in drawn.tolist()))


def _lengths(tokens: list[int]) -> Iterator[int]:
    """Yield the length of each answer, its end token included."""
    length = 0
    for token in tokens:
        length += 1
        if token == END_ID:
            yield length
            length = 0


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer from ``folder``, training and saving it first if it is not there."""
    if not (folder / "tokenizer.json").exists():
        texts = [text for scene in scenes(Split.TRAIN) for pair in scene.pairs for text in pair]
        train_tokenizer(texts, VOCABULARY).save_pretrained(folder)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded


def train(out: Path, schedule: Schedule, seed: int) -> bool:
    """Train until the end or the pause; returns whether the model is finished."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(out / "tokenizer")
    model = build_model(len(tokenizer), TEACHER).to(device)
    model.train()
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    task = TeacherTask(model, tokenizer, seed)
    training = Training(task, hybrid([(task.model, 1.0)], RATES), schedule, out)
    finished = training.run(_print)
    if finished:
        save_bundle(model.eval(), tokenizer, out / "model", TEACHER)
    return finished


def _print(point: Point, steps: int) -> None:
    print(
        f"step {point.step} of {steps}, {point.seconds:.0f} s: loss {point.train_loss:.4f}, "
        f"validation {point.held_out_loss:.4f}, right {point.agreement:.2%}",
        flush=True,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads; torch's choice if not set")
    parser.add_argument("--pause-after", type=float, help="seconds; call again to continue")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    schedule = Schedule(arguments.steps, patience=0, pause_after=arguments.pause_after)
    write_sets(arguments.out / "data")
    finished = train(arguments.out, schedule, arguments.seed)
    print(f"{arguments.out / 'model'} is finished" if finished else "paused: call again")


if __name__ == "__main__":
    main()
