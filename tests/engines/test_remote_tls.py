"""https to a remote server: its certificate counts."""

import ssl
import subprocess
from pathlib import Path

import pytest

from silkline.engines.base import EngineOptions
from silkline.engines.remote import create_engine
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
