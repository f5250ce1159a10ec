"""A request's own time holds however it is asked, and its end is told."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.gateway.asking import asked
from tests.serving import served

CHAT = "/v1/chat/completions"
SECONDS = 2.0
SLACK_SECONDS = 1.5


@pytest.fixture(scope="module")
def slow() -> Iterator[httpx2.Client]:
    options = "token_seconds=0.05,answer_words=100"
    limits = ("--max-batch", "1", "--request-timeout", str(SECONDS))
    with (
        served("--engine", "fake", "--engine-options", options, *limits) as running,
        httpx2.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


def test_waiting_for_a_turn_is_a_part_of_it(slow: httpx2.Client) -> None:
    def timed(place: int) -> tuple[int, float]:
        began = time.monotonic()
        body = asked(max_tokens=30, temperature=1.0)
        return slow.post(CHAT, json=body).status_code, time.monotonic() - began

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(timed, range(6)))
    assert {code for code, _ in outcomes} <= {200, 503, 504}
    assert max(seconds for _, seconds in outcomes) < SECONDS + SLACK_SECONDS


@pytest.mark.slow
def test_a_stream_is_told_that_its_time_is_over(slow: httpx2.Client) -> None:
    for _ in range(3):
        body = asked(max_tokens=100, temperature=1.0, stream=True)
        with slow.stream("POST", CHAT, json=body) as reply:
            text = "".join(reply.iter_text())
        assert "event: error" in text
        assert "deadline_exceeded" in text
        assert "[DONE]" not in text
