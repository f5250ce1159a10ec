"""Cases 26, 27 and 29: what clients send stays out of logs, metrics and error messages."""

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from silkline.gateway.keys import KeyRing, fragment, new_key
from tests.campaign.figures import record
from tests.campaign.sizes import sizes
from tests.gateway.asking import asked, messages
from tests.pictures import data_url, encoded
from tests.serving import Served, served

CHAT = "/v1/chat/completions"
CANARY = "canary7f3a"
"""Stands in everything that a client can send."""

HOSTILE = ("\u001b[31mred", "line\u2028break", "tab\tend", "nul\u0000l", "\u202ereversed", "é" * 40)


@dataclass(frozen=True)
class Guarded:
    """A gateway that asks for keys and logs all it can."""

    running: Served
    key: str
    wrong_key: str


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    key, operator = new_key(), new_key()
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(
        '[tenants.operator]\npaths = ["/", "/metrics"]\n\n'
        + fragment("shop", key, None)
        + fragment("operator", operator, None)
    )
    options = "crash_on_text=<<crash>>,oom_on_text=<<oom>>"
    with served(
        "--engine", "fake", "--engine-options", options, "--keys-file", str(file),
        "--log-level", "debug", "--max-body-bytes", "100000", "--max-image-bytes", "50000",
    ) as running:  # fmt: skip
        yield Guarded(running, key, f"{CANARY}-wrong-key")
        headers = {"authorization": f"Bearer {operator}"}
        metrics = httpx2.get(f"{running.url}/metrics", headers=headers).text
        assert "silkline_requests_total" in metrics
        assert CANARY not in metrics
    log = "".join(running.log)
    assert len(running.events("request")) > 20
    assert CANARY not in log
    assert key not in log
    for line in running.log:
        assert isinstance(json.loads(line), dict)
        assert not set(line.rstrip("\n")) & set("\x00\x1b\x85\r\n\u2028\u2029\u202e")


PICTURE = data_url(encoded() + CANARY.encode())
BODIES: dict[str, dict[str, Any]] = {
    "good": asked(PICTURE) | {"messages": messages(PICTURE, text=CANARY)},
    "streamed": asked(PICTURE, stream=True) | {"messages": messages(PICTURE, text=CANARY)},
    "model": asked() | {"model": CANARY},
    "unknown field": asked(**{CANARY: 1}),
    "wrong type": asked(max_tokens=CANARY),
    "role": asked() | {"messages": [{"role": CANARY, "content": "x"}]},
    "private address": asked(f"http://127.0.0.1/{CANARY}?token={CANARY}"),
    "no such host": asked(f"http://{CANARY}.invalid/{CANARY}"),
    "credentials": asked(f"http://{CANARY}:{CANARY}@example.com/a.jpg"),
    "broken picture": asked(data_url(encoded()[:100] + CANARY.encode() * 10)),
    "no picture": asked(data_url(CANARY.encode() * 10)),
    "broken base64": asked(f"data:image/png;base64,{CANARY}@@"),
    "picture too large": asked(data_url(encoded() + CANARY.encode() * 6000)),
    "body too large": asked() | {"messages": messages(text=CANARY * 20_000)},
    "out of memory": asked() | {"messages": messages(text=f"<<oom>> {CANARY}")},
    "crash": asked() | {"messages": messages(text=f"<<crash>> {CANARY}")},
    "control characters": asked() | {"model": "".join(HOSTILE)},
}
TOLD_BACK = {"unknown field", "role"}
"""Where a client cannot mend its request without being told what of it is wrong."""


@pytest.mark.parametrize("name", BODIES)
def test_what_a_client_sends_is_not_told_on(guarded: Guarded, name: str) -> None:
    headers = {
        "authorization": f"Bearer {guarded.key}",
        "x-request-id": f"{CANARY} is not well-formed",
        "idempotency-key": f"{CANARY}-{name}",
        "user-agent": CANARY,
        "cookie": f"session={CANARY}",
    }
    reply = httpx2.post(
        f"{guarded.running.url}{CHAT}?{CANARY}=1", json=BODIES[name], headers=headers, timeout=30
    )
    assert name in TOLD_BACK or CANARY not in reply.text
    assert CANARY not in str(_without_names(reply.headers))
    assert (reply.status_code == 200) == (name in {"good", "streamed", "unknown field"})


def test_keys_paths_names_of_files_and_ids(guarded: Guarded) -> None:
    url, key = guarded.running.url, {"authorization": f"Bearer {guarded.key}"}
    wrong = {"authorization": f"Bearer {guarded.wrong_key}"}
    replies = [
        httpx2.post(url + CHAT, json=asked(), headers=wrong),
        httpx2.get(url + "/v1/models", headers={"authorization": f"Basic {CANARY}"}),
        httpx2.post(url + CHAT, content=f"{{{CANARY}".encode(), headers=key),
        httpx2.post(
            url + "/predict", files={"image": (f"{CANARY}.jpg", CANARY.encode())}, headers=key
        ),
        httpx2.post(url + "/predict", data={CANARY: CANARY}, headers=key),
        *(httpx2.get(url + CHAT, headers=_hostile(guarded.key, text)) for text in HOSTILE),
    ]
    for reply in replies:
        assert 400 <= reply.status_code < 500
        assert CANARY not in reply.text
        assert CANARY not in str(reply.headers)


def _hostile(key: str, text: str) -> list[tuple[bytes, bytes]]:
    """Headers with a request id that none may have, but for NUL, which no header can have."""
    identity = text.replace("\u0000", "").encode()
    return [(b"authorization", b"Bearer " + key.encode()), (b"x-request-id", identity)]


@pytest.mark.parametrize("samples", sizes(2_000, 100_000))
def test_the_time_of_a_comparison_is_reported(seed: int, samples: float, tmp_path: Path) -> None:
    """A figure, not a gate: that the comparison is one of constant time is another test."""
    key = new_key()
    file = tmp_path / "keys.toml"
    file.write_text(fragment("shop", key, None))
    ring = KeyRing.load(file)
    wrong = {"first differs": "x" + key[1:], "last differs": key[:-1] + "x"}
    nanoseconds: dict[str, list[int]] = {name: [] for name in wrong}
    for _ in range(int(samples)):
        for name, given in wrong.items():
            began = time.perf_counter_ns()
            ring.holder(given.encode())
            nanoseconds[name].append(time.perf_counter_ns() - began)
    medians = {name: statistics.median(taken) for name, taken in nanoseconds.items()}
    record("29-key-timing", seed=seed, whole=samples > 2000, median_nanoseconds=medians)
    assert ring.holder(key.encode()) is not None


def _without_names(headers: httpx2.Headers) -> dict[str, str]:
    """The headers but for the names of unknown fields, which only their sender is told."""
    return {name: value for name, value in headers.items() if name != "x-silkline-ignored"}
