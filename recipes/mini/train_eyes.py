"""Loop of stage one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPVisionModel

from recipes.mini import crew
from recipes.mini.eyes import EyesHeads, Sampler, eyes_accuracy, eyes_loss, patch_features
from recipes.mini.model import WIDTH
from recipes.mini.optim import Meter
from silkline.distil.optimiser import Ema, Rates, hybrid

BATCH_SIZE = 64


def train_eyes(
    tower: CLIPVisionModel,
    samplers: tuple[Sampler, Sampler],
    out: Path,
    seconds: float,
    *,
    rates: Rates | None = None,
    muon: bool = True,
    report_every: float = 60.0,
) -> dict[str, float]:
    """Train ``tower`` in place for ``seconds``; returns the final validation accuracies.

    ``samplers`` give the training and the validation pictures.
    Checkpoints go to ``out``/eyes.safetensors; a run that finds one goes on from there.
    """
    heads = EyesHeads(WIDTH).to(next(tower.parameters()).device)
    train, validation = samplers
    both = nn.ModuleDict({"tower": tower, "heads": heads})
    checkpoint, already = out / "eyes.safetensors", 0.0
    if checkpoint.exists():
        saved = load_file(checkpoint)
        already = float(saved.pop("elapsed"))
        both.load_state_dict(saved)
    optimizer = hybrid([(tower, 1.0), (heads, 1.0)], rates or Rates(), muon=muon)
    # Compiled, two cores take half the time a step; the compiled view shares the parameters.
    compiled = torch.compile(tower)
    ema, meter = Ema(both, 300), Meter(seconds, already)
    step, running, progress = 0, 0.0, meter.progress
    next_report = meter.elapsed + report_every
    while progress < 1.0:
        # The rates stay up: the tower goes on learning in the second stage.
        optimizer.set_progress(progress, floor=0.3)
        batch = train.batch(train.indices(BATCH_SIZE // crew.size()))
        # Matrices are multiplied in bfloat16: the same loss in about half the time.
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            patches = patch_features(compiled, batch.pixels).float()
        dense, logits = heads(patches)
        loss = eyes_loss(dense, logits, batch)
        loss.backward()
        progress = crew.average(both.parameters(), meter.progress)
        nn.utils.clip_grad_norm_(both.parameters(), 2.0)
        optimizer.step()
        ema.update(both)
        step += 1
        running += (0.02 if step > 1 else 1.0) * (loss.item() - running)
        if crew.rank() == 0 and (meter.elapsed >= next_report or progress >= 1.0):
            next_report = meter.elapsed + report_every
            rate = step * BATCH_SIZE / (meter.elapsed - already)
            print(f"eyes step {step} seen {step * BATCH_SIZE} rate {rate:.0f}/s "
                  f"loss {running:.3f} eta {meter.left:.0f}s", end=" ")  # fmt: skip
            result = _report(both, ema, validation)
            print(" ".join(f"{k} {v:.3f}" for k, v in result.items()), flush=True)
            crew.save({**ema.weights, "elapsed": torch.tensor(meter.elapsed)}, checkpoint)
    crew.wait()
    both.load_state_dict(ema.weights)
    return _report(both, ema, validation)


def _report(both: nn.ModuleDict, ema: Ema, validation: Sampler) -> dict[str, float]:
    """Measure the averaged weights, then put the live ones back."""
    live = {key: value.clone() for key, value in both.state_dict().items()}
    both.load_state_dict(ema.weights)
    both.eval()
    result = eyes_accuracy(both["tower"], both["heads"], validation)
    both.train()
    both.load_state_dict(live)
    return result
