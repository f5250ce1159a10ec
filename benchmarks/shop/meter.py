"""What the parts take: processor time and memory by part, and what Prometheus saw."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from urllib.parse import urlencode
from urllib.request import urlopen

from benchmarks.processes import cpu_seconds, resident_bytes

_EVERY_SECONDS = 1.0
_ASK_SECONDS = 30.0


class Meter:
    """Samples the processor time of each part once a second, in a thread.

    A part whose process is replaced goes on from what the old process had taken.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """Takes a function that gives the main process of each part."""
        self._pids = pids
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._totals: dict[str, float] = {}
        self._samples: list[tuple[float, dict[str, float]]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Meter:
        """Begins to sample."""
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Ends the thread."""
        self._end.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> dict[str, float]:
        """Processor seconds of each part between two monotonic seconds, to the next sample."""
        with self._lock:
            samples = list(self._samples)
        first = max((one for one in samples if one[0] <= begin), default=samples[0])
        last = min((one for one in samples if one[0] >= end), default=samples[-1])
        return {name: value - first[1].get(name, 0.0) for name, value in last[1].items()}

    def memory(self) -> dict[str, int]:
        """Proportional set size of each part now, in bytes."""
        return {name: resident_bytes(pid)[1] for name, pid in self._pids().items()}

    def _run(self) -> None:
        while not self._end.wait(_EVERY_SECONDS):
            self.sample()
        self.sample()

    def sample(self) -> None:
        """Takes a sample now."""
        with self._lock:
            for name, pid in self._pids().items():
                self._add(name, pid, sum(cpu_seconds(pid).values()))
            self._samples.append((time.monotonic(), dict(self._totals)))

    def _add(self, name: str, pid: int, now: float) -> None:
        first = name not in self._seen
        before = 0.0 if not first and self._seen[name] != pid else self._last.get(name, now)
        # A child that ended takes its time out of the sum.
        self._totals[name] = self._totals.get(name, 0.0) + max(0.0, now - before)
        self._last[name], self._seen[name] = now, pid


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        """Takes its URL."""
        self._url = url

    def values(self, query: str, at: float, *labels: str) -> dict[str, float]:
        """The result of an instant query.

        Args:
            query: In PromQL.
            at: Unix time in seconds.
            labels: Labels by whose values the result is named.
        """
        asked = urlencode({"query": query, "time": f"{at:.3f}"})
        with urlopen(f"{self._url}/api/v1/query?{asked}", timeout=_ASK_SECONDS) as response:
            found = json.loads(response.read())["data"]["result"]
        return {
            " ".join(one["metric"].get(label, "") for label in labels): float(one["value"][1])
            for one in found
        }
