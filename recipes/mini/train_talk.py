"""Loop of stage two: decoder, projector and tower together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from recipes.mini import crew
from recipes.mini.eyes import EyesHeads, Sampler, eyes_accuracy, eyes_loss, patch_features
from recipes.mini.optim import Meter
from recipes.mini.quiz import quiz
from recipes.mini.talk import IMAGE_TOKENS, Packer, TalkBatch
from silkline.distil.optimiser import Ema, HybridOptimizer, Rates, hybrid

BATCH_SIZE = 48

EYES_WEIGHT = 0.4
"""The labels of stage one go on teaching the tower with this weight."""

TOWER_FACTOR = 0.5
"""Learning rate of the tower relative to the decoder's."""


def _parts(model: LlavaForConditionalGeneration) -> tuple[nn.Module, nn.Module, nn.Module]:
    inner = model.model
    return inner.vision_tower, inner.multi_modal_projector, inner.language_model


def talk_loss(decoder: Any, embed: nn.Module, pictures: Tensor, talk: TalkBatch) -> Tensor:
    """Return the next-token loss on the answers; ``pictures`` are projected features."""
    kind = talk.ids.device.type
    embeds = embed(talk.ids)
    start = talk.image_start
    embeds = torch.cat([embeds[:, :start], pictures, embeds[:, start + IMAGE_TOKENS :]], dim=1)
    with torch.autocast(kind, torch.bfloat16):
        hidden = decoder(
            inputs_embeds=embeds, attention_mask=talk.mask, position_ids=talk.positions,
            use_cache=False,
        ).last_hidden_state.float()  # fmt: skip
    wanted = talk.labels[:, 1:]
    chosen = wanted != -100
    logits = nn.functional.linear(hidden[:, :-1][chosen], embed.weight)  # type: ignore[arg-type]
    return nn.functional.cross_entropy(logits, wanted[chosen])


class TalkTrainer:
    """State of stage two; ``run`` trains until its time is used up."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        heads: EyesHeads,
        tokenizer: PreTrainedTokenizerFast,
        samplers: tuple[Sampler, Sampler],
        out: Path,
    ) -> None:
        """Join ``model`` and the heads of stage one; checkpoints go to ``out``."""
        self._model, self._tokenizer = model, tokenizer
        self._train, self._validation = samplers
        self._out = out
        self._all = nn.ModuleDict({"model": model, "heads": heads})
        self._packer = Packer(tokenizer, seed=3 + 100 * crew.rank())
        tower, projector, decoder = _parts(model)
        self._optimizer: HybridOptimizer = hybrid(
            [(tower, TOWER_FACTOR), (heads, TOWER_FACTOR), (projector, 1.0), (decoder, 1.0)],
            Rates(),
        )
        self._tower = torch.compile(tower, dynamic=False)
        self._decoder = torch.compile(decoder, dynamic=False)
        self._already = self._resume()

    def _resume(self) -> float:
        checkpoint = self._out / "talk.safetensors"
        if not checkpoint.exists():
            return 0.0
        saved = load_file(checkpoint)
        elapsed = float(saved.pop("elapsed"))
        # The output layer is tied to the embedding, so the file holds it once.
        self._all.load_state_dict(saved, strict=False)
        return elapsed

    def run(self, seconds: float, report_every: float = 120.0) -> None:
        """Train for ``seconds`` in all, then leave the averaged weights in the model."""
        ema, meter = Ema(self._all, 300), Meter(seconds, self._already)
        step, running, progress = 0, 0.0, meter.progress
        next_report = meter.elapsed + report_every
        while progress < 1.0:
            self._optimizer.set_progress(progress)
            loss = self._backward(BATCH_SIZE // crew.size())
            progress = crew.average(self._all.parameters(), meter.progress)
            nn.utils.clip_grad_norm_(self._all.parameters(), 2.0)
            self._optimizer.step()
            ema.update(self._all)
            step += 1
            running += (0.02 if step > 1 else 1.0) * (loss - running)
            if crew.rank() == 0 and (meter.elapsed >= next_report or progress >= 1.0):
                rate = step * BATCH_SIZE / (meter.elapsed - self._already)
                print(f"talk step {step} rate {rate:.0f}/s loss {running:.4f} "
                      f"eta {meter.left:.0f}s", end=" ")  # fmt: skip
                self._report(ema)
                next_report = meter.elapsed + report_every
                tensors = {k: v for k, v in ema.weights.items() if k != "model.lm_head.weight"}
                tensors["elapsed"] = torch.tensor(meter.elapsed)
                crew.save(tensors, self._out / "talk.safetensors")
        crew.wait()
        self._all.load_state_dict(ema.weights)

    def _backward(self, batch_size: int) -> float:
        """Compute the gradients of one batch; returns the loss of the answers."""
        indices = self._train.indices(batch_size)
        batch = self._train.batch(indices)
        talk = self._packer.pack([self._train.pool.scenes[i] for i in indices])
        talk = talk.to(batch.pixels.device)
        _, projector, decoder = _parts(self._model)
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            patches = patch_features(self._tower, batch.pixels).float()
            pictures = projector(patches).float()
        embed = decoder.get_input_embeddings()  # type: ignore[operator]
        spoken = talk_loss(self._decoder, embed, pictures, talk)
        heads = self._all["heads"]
        dense, logits = heads(patches)
        (spoken + EYES_WEIGHT * eyes_loss(dense, logits, batch)).backward()
        return float(spoken.item())

    def _report(self, ema: Ema) -> None:
        """Print validation accuracies of the averaged weights."""
        live = {key: value.clone() for key, value in self._all.state_dict().items()}
        self._all.load_state_dict(ema.weights)
        self._all.eval()
        heads = self._all["heads"]
        seen = eyes_accuracy(self._model.model.vision_tower, heads, self._validation, 300)
        indices = np.arange(100)
        scenes = [self._validation.pool.scenes[i] for i in indices]
        pixels = self._validation.batch(indices, augment=False).pixels
        said = quiz(self._model, self._tokenizer, pixels, scenes)
        print("eyes " + " ".join(f"{k} {v:.3f}" for k, v in seen.items()) + " | record "
              + " ".join(f"{k} {v:.3f}" for k, v in said.items()), flush=True)  # fmt: skip
        self._all.train()
        self._all.load_state_dict(live)
