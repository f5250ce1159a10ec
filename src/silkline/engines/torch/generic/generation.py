"""Runs `generate` of transformers step by step: it waits at each token for the choice of the next.

`generate` is a loop that returns when the answer is complete. It runs in a thread of its own here,
and a logits processor in it hands the logits over and waits. So the engine streams tokens, samples
them itself, and stops between two steps, whatever loop the model's class has.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

import torch

Chooser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A logits processor, as `generate` takes them."""


class _StoppedError(Exception):
    """Ends `generate` from inside."""


class _Chooser:
    """Hands logits over and makes `generate` take the tokens that come back."""

    def __init__(
        self,
        logits: queue.SimpleQueue[torch.Tensor | Exception],
        ids: queue.SimpleQueue[Sequence[int] | None],
    ) -> None:
        self._logits = logits
        self._ids = ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called by `generate` as a logits processor; `scores` are `[N, vocabulary]`."""
        del input_ids
        self._logits.put(scores)
        ids = self._ids.get()
        if ids is None:
            raise _StoppedError
        chosen = torch.tensor(ids, device=scores.device).unsqueeze(1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


class Generation:
    """A call of `generate` in progress."""

    def __init__(self, generate: Callable[[Chooser], object]) -> None:
        """Starts it.

        Args:
            generate: Calls `generate`, greedily, with a logits processor.
        """
        self._logits: queue.SimpleQueue[torch.Tensor | Exception] = queue.SimpleQueue()
        self._ids: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        self._generate = generate
        self._thread = threading.Thread(target=self._run, name="torch-generate", daemon=True)
        self._thread.start()

    def logits(self) -> torch.Tensor:
        """Waits for the next logits, `[N, vocabulary]`.

        Raises:
            Exception: The error that ended `generate`, of any class.
        """
        made = self._logits.get()
        if isinstance(made, Exception):
            raise made
        return made

    def take(self, ids: Sequence[int]) -> None:
        """Continues with the next token of each row; `logits` must have returned."""
        self._ids.put(ids)

    def close(self) -> None:
        """Ends the call before its next step, and waits for that."""
        self._ids.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._generate(_Chooser(self._logits, self._ids))
        except _StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - raised again by `logits`
            self._logits.put(error)
            return
        self._logits.put(RuntimeError("generate ended before the answers did"))
