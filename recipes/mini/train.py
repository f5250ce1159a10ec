"""One command from nothing to trained weights: ``python -m recipes.mini.train --out DIR``.

Renders the pictures, trains the tokenizer, teaches the eyes, then the talking, and leaves the
model in transformers format in ``DIR/model``. A second call goes on where the first one ended.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from recipes.mini import crew
from recipes.mini.dataset import build_pool, load_pool
from recipes.mini.eyes import EyesHeads, Sampler
from recipes.mini.model import WIDTH, build_model, save_bundle
from recipes.mini.scene import TRAIN_SEEDS, VALIDATION_SEEDS
from recipes.mini.tokenizer import load_tokenizer
from recipes.mini.train_eyes import train_eyes
from recipes.mini.train_talk import TalkTrainer


@dataclass(frozen=True)
class Plan:
    """What to run: folder, minutes by stage, how often to report (seconds)."""

    out: Path
    eyes_minutes: float
    talk_minutes: float
    report_every: float

    def __call__(self) -> None:
        """Run both stages; every process of the crew does this with pictures of its own."""
        torch.manual_seed(0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Resumed runs continue with other pictures than they began with.
        seed = 100 * crew.rank() + 1000 * (self.out / "eyes.safetensors").exists()
        learn = Sampler(load_pool(self.out / "train"), device, seed)
        check = Sampler(load_pool(self.out / "validation"), device, seed)
        tokenizer = load_tokenizer(self.out / "tokenizer")
        model = build_model(len(tokenizer)).to(device)
        model.train()
        tower = model.model.vision_tower
        train_eyes(tower, (learn, check), self.out, self.eyes_minutes * 60,
                   report_every=self.report_every)  # fmt: skip
        if self.talk_minutes <= 0:
            return
        heads = EyesHeads(WIDTH).to(device)
        taught = load_file(self.out / "eyes.safetensors")
        taught.pop("elapsed")
        nn.ModuleDict({"tower": tower, "heads": heads}).load_state_dict(taught)
        trainer = TalkTrainer(model, heads, tokenizer, (learn, check), self.out)
        trainer.run(self.talk_minutes * 60, report_every=self.report_every)
        if crew.rank() == 0:
            save_bundle(model.eval(), tokenizer, self.out / "model")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--eyes-minutes", type=float, default=25.0)
    parser.add_argument("--talk-minutes", type=float, default=42.0, help="0: eyes only")
    parser.add_argument("--pictures", type=int, default=160_000, help="pictures to render")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--processes", type=int, default=2, help="1 on a GPU")
    parser.add_argument("--report-every", type=float, default=120.0, help="seconds")
    arguments = parser.parse_args()
    out = arguments.out
    build_pool(out / "train", TRAIN_SEEDS[: arguments.pictures])
    build_pool(out / "validation", VALIDATION_SEEDS[:1000])
    load_tokenizer(out / "tokenizer")
    plan = Plan(out, arguments.eyes_minutes, arguments.talk_minutes, arguments.report_every)
    crew.run(plan, arguments.processes, arguments.threads)


if __name__ == "__main__":
    main()
