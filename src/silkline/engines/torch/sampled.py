"""Samples the next tokens of requests from their logits, and adds them to the answers.

Both ways of running a model use it, so that sampling, penalties, constraints and log-probabilities
are the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silkline.core import Delta, FinishReason, TokenLogprob
from silkline.engines.stepper import Failed
from silkline.engines.token_bytes import TokenBytes
from silkline.engines.torch.constraint import constrained, stuck
from silkline.engines.torch.job import Job
from silkline.engines.torch.penalties import penalised
from silkline.engines.torch.sampling import NO_TOKEN, choose
from silkline.engines.torch.token_logprobs import token_logprobs
from silkline.errors import InternalFault, SilklineError


@dataclass(frozen=True, slots=True)
class Sampled:
    """The next token of a request, and its log-probability if it is asked for."""

    token: int
    logprob: TokenLogprob | None


def sample(logits: torch.Tensor, jobs: Sequence[Job], data: TokenBytes) -> list[Sampled]:
    """Samples the next token of each request.

    Args:
        logits: `[N, vocabulary]`, any floating type.
        jobs: The requests, one for each row.
        data: The bytes of tokens.
    """
    for row, job in enumerate(jobs):
        if job.keeps_logits and not job.generated:
            job.first_logits = logits[row].float().cpu()
    changed = penalised(logits, [job.penalties for job in jobs])
    changed = constrained(logits, changed, [job.matcher for job in jobs])
    ids: list[int] = choose(changed, [job.draw() for job in jobs]).tolist()
    logprobs = token_logprobs(logits, ids, [job.sampling.logprobs for job in jobs], data)
    return list(map(Sampled, ids, logprobs))


def take(job: Job, sampled: Sampled, now: float) -> Delta | Failed | None:
    """Adds a token to a request's answer and returns the event, if there is one.

    The request has ended after a `Failed` and after a delta with a finish reason.

    Args:
        job: The request.
        sampled: Its next token.
        now: When it was sampled, on the clock of `time.perf_counter`.
    """
    token = sampled.token
    if token == NO_TOKEN:
        return Failed(_failure(job))
    job.add(token)
    if job.matcher is not None:
        job.matcher.advance(token)
    ended = None
    if token in job.end_ids:
        ended = FinishReason.STOP
    elif len(job.generated) == job.sampling.max_tokens:
        ended = FinishReason.LENGTH
    logprobs = () if sampled.logprob is None else (sampled.logprob,)
    return job.take((token,), ended, now, logprobs)


def has_ended(event: Delta | Failed | None) -> bool:
    """Whether an event is the last one of its request."""
    return isinstance(event, Failed) or (event is not None and event.finish_reason is not None)


def _failure(job: Job) -> SilklineError:
    """Why a request has no next token."""
    constraint = job.sampling.constraint
    if constraint is not None and job.matcher is not None and job.matcher.stuck:
        return stuck(constraint.kind)
    return InternalFault(
        "The model's arithmetic failed on this request: the logits of its next token are not "
        "finite. The operator may serve the model with dtype=float32."
    )
