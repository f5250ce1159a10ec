"""Faults that use up the budgets of the objectives: answers that fail, or come late."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.deploy.faults.site import Site
from tests.deploy.faults.traffic import question
from tests.pictures import encoded

SLOW_SECONDS = 0.8
OBJECTIVE_SECONDS = 0.6
_PATHS = 20
"""More than what is asked for within `SLOW_SECONDS`: requests for one image share its fetch."""

Injection = Callable[[Site], Iterator[None]]


def failing(one_in: int) -> Injection:
    """One in so many answers ends in a 503, as when an engine has no memory for it."""

    def inject(site: Site) -> Iterator[None]:
        site.serve('[engine]\nengine = "fake"\nengine_options = { oom_on_text = "huge" }\n')
        site.traffic.pause = 0.1
        yield
        words = itertools.cycle(["huge"] + ["small"] * (one_in - 1))
        site.traffic.make = lambda number: question(f"A {next(words)} one, {number}?")
        yield

    return inject


def late(one_in: int, *, streams: bool) -> Injection:
    """The image of one in so many requests comes late, and so does the first token."""

    def inject(site: Site) -> Iterator[None]:
        origin = site.stack.enter_context(_Origin())
        waits = [True] + [False] * (one_in - 1)
        turns = itertools.cycle([False])
        objective = "first_token" if streams else "latency"
        other = "latency" if streams else "first_token"
        site.serve(
            '[engine]\nengine = "fake"\n'
            f'[fetch]\nprivate_hosts = ["127.0.0.1:{origin.server_port}"]\nfetch_ttl = 0\n'
            f"[slo]\nslo_{objective}_seconds = {OBJECTIVE_SECONDS}\nslo_{other}_seconds = 60\n"
        )

        def ask(number: int) -> dict[str, object]:
            name = "slow" if next(turns) else "fast"
            url = f"http://127.0.0.1:{origin.server_port}/{name}/{number % _PATHS}.png"
            return question("What is it?", url, stream=streams)

        site.traffic.make, site.traffic.pause = ask, 0.15
        yield
        turns = itertools.cycle(waits)
        yield

    return inject


class _Handler(BaseHTTPRequestHandler):
    server: _Origin

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.server.ended.wait(SLOW_SECONDS)
        self.send_response(200)
        self.send_header("content-type", "image/png")
        self.send_header("content-length", str(len(self.server.image)))
        self.end_headers()
        self.wfile.write(self.server.image)

    def log_message(self, *_: object) -> None:
        pass


class _Origin(ThreadingHTTPServer):
    """Serves one image; paths that begin with `/slow` take `SLOW_SECONDS`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.image = encoded(8, 8, kind="PNG")
        self.ended = threading.Event()

    def __enter__(self) -> _Origin:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
