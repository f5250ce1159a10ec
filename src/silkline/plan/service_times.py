"""How long an engine takes: the times that the simulated engine runs by."""

from __future__ import annotations

import msgspec


class ServiceTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of one replica's engine, for one kind of request.

    A prompt is prefilled alone, and the batch waits meanwhile. Then a step gives each request of
    the batch a token.

    Attributes:
        prefill: Seconds to encode the images and to prefill the prompt.
        step: Seconds of a step that do not depend on the batch.
        step_request: Seconds that each request adds to a step.
        answer_tokens: Mean tokens of an answer.
        lengths: Tokens of measured answers, from which simulated ones are drawn; empty draws them
            evenly between 1 and twice the mean less 1.
        batch: Maximum requests in the batch.
        prepare: Seconds to fetch and decode the images before the request is queued.
    """

    prefill: float
    step: float
    step_request: float = 0.0
    answer_tokens: float = 32
    lengths: tuple[int, ...] = ()
    batch: int = 16
    prepare: float = 0.01

    def step_seconds(self, running: int) -> float:
        """Seconds of a step with so many requests in the batch."""
        return self.step + self.step_request * running

    def answers_per_second(self) -> float:
        """Answers a second of a replica whose batch is always full."""
        steps = self.answer_tokens * self.step_seconds(self.batch) / self.batch
        return 1.0 / (self.prefill + steps)

    def alone(self) -> float:
        """Seconds to answer a request on an idle server."""
        return self.prepare + self.prefill + self.answer_tokens * self.step_seconds(1)
