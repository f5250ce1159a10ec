"""Faults of workers and remote servers."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from unittest.mock import patch

from tests.deploy.faults.remote import certificate, remote
from tests.deploy.faults.site import Site
from tests.deploy.faults.traffic import question
from tests.deploy.watching import until

_REMOTE = '[[engine.remotes]]\nurl = "{url}"\ntimeout = 600\n'
_REMOTES = '[engine]\nengine = "remote"\nhang_timeout = {hang}\n{remotes}'


def _remotes(site: Site, *urls: str) -> str:
    entries = "".join(_REMOTE.format(url=url) for url in urls)
    return _REMOTES.format(hang=site.shorter(30), remotes=entries)


def last_replica_lost(site: Site) -> Iterator[None]:
    """The only remote server ends."""
    server = site.stack.enter_context(remote())
    site.serve(_remotes(site, server.url), asked=False)
    yield
    server.end()
    until(lambda: not site.metric("replica_ready"))
    yield


def engine_stuck(site: Site) -> Iterator[None]:
    """A remote server accepts a request and sends nothing more."""
    server = site.stack.enter_context(remote())
    site.serve(_remotes(site, server.url))
    yield
    server.hangs.set()
    site.traffic.make = lambda number: question(f"{number}?", stream=True)
    site.wait("replica_progress_age_seconds", 0)
    yield


def worker_restarts(site: Site) -> Iterator[None]:
    """A worker is killed three times."""
    site.serve(asked=False)
    yield
    for number in range(3):
        until(lambda: site.metric("replica_ready"))
        site.gateway.worker().kill()
        site.wait("replica_restarts_total", number)
    yield


def replica_ejected(site: Site) -> Iterator[None]:
    """One of two remote servers answers with errors."""
    servers = [site.stack.enter_context(remote()) for _ in range(2)]
    site.serve(_remotes(site, *(server.url for server in servers)))
    site.traffic.make = lambda number: question(f"{number}?")
    yield
    servers[0].status = 500
    site.wait("replica_ejected", 0)
    yield


def quarantine(site: Site) -> Iterator[None]:
    """A request crashes two workers."""
    site.serve('[engine]\nengine = "fake"\nengine_options = { crash_on_text = "boom" }\n')
    yield
    site.ask("boom")
    site.wait("quarantines_total", 0)
    yield


def queue_grows(site: Site) -> Iterator[None]:
    """Requests come faster than the engine answers them."""
    site.serve(
        '[engine]\nengine = "fake"\nmax_batch = 1\nengine_options = { token_seconds = "0.2" }\n'
        "[slo]\nslo_latency_seconds = 5\n[admission]\nmax_queue = 1000\n"
    )
    site.traffic.make, site.traffic.pause = lambda number: question(f"{number}?", max_tokens=1), 0.5
    yield
    site.traffic.pause = 0.05
    yield


def certificate_expires(site: Site) -> Iterator[None]:
    """A remote server gets a certificate that is valid for 13 days."""
    new, old = certificate(site.folder, 60), certificate(site.folder, 13)
    trusted = site.folder / "trusted.pem"
    trusted.write_text(new.read_text() + old.read_text())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(new)
    server = site.stack.enter_context(remote(tls))
    url = f"https://localhost:{server.server_port}"
    with patch.dict(os.environ, SSL_CERT_FILE=str(trusted)):
        site.serve(_remotes(site, url), asked=False)
    expiry = "replica_certificate_expiry_seconds"
    site.wait(expiry, 0)
    before = site.metric(expiry)
    yield
    tls.load_cert_chain(old)
    until(lambda: site.metric(expiry) < before)
    yield
