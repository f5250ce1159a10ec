"""https to a remote server: its certificate counts."""

import ssl
import subprocess
import time
from pathlib import Path

import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.remote import create_engine
from silkline.engines.remote.link import RemoteLink
from silkline.errors import WorkerLost
from tests.engines.asking import answer, question
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    chunk,
    event,
    openai_server,
    scripted,
)

DAY_SECONDS = 24 * 3600


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and its own certificate for localhost, in one file."""
    key, cert, both = (tmp_path / name for name in ("key.pem", "cert.pem", "both.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(key.read_text() + cert.read_text())
    return both


async def test_only_a_certificate_that_is_trusted_and_fits(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    said = event(chunk({"content": "Hi"}, "stop")) + event("[DONE]") + STREAM_END
    async with openai_server(scripted(STREAM_HEAD, said), tls=tls) as server:
        by_name = server.url.replace("127.0.0.1", "localhost")
        unknown = create_engine(EngineOptions(extra={"url": by_name}))
        with pytest.raises(WorkerLost):
            await unknown.start()
        await unknown.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        other = create_engine(EngineOptions(extra={"url": server.url}))  # by another name
        with pytest.raises(WorkerLost):
            await other.start()
        await other.aclose()
        engine = create_engine(EngineOptions(extra={"url": by_name}))
        await engine.start()
        assert (await answer(engine, question())).text == "Hi"
        await engine.aclose()


async def test_the_end_of_a_certificate_is_known_from_a_probe(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with openai_server(scripted(STREAM_HEAD), tls=tls) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        link = RemoteLink(url, None, timeout=5)
        link.open()
        assert (await link.get("/v1/models", 5))[0] == 200
        assert link.certificate_expiry is not None
        assert link.certificate_expiry == pytest.approx(time.time() + 2 * DAY_SECONDS, abs=600)
        await link.aclose()


async def test_a_server_without_tls_has_no_certificate() -> None:
    async with openai_server(scripted(STREAM_HEAD)) as server:
        link = RemoteLink(server.url, None, timeout=5)
        link.open()
        await link.get("/v1/models", 5)
        assert link.certificate_expiry is None
        await link.aclose()
