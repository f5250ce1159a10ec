"""The fetcher goes to public addresses only, whatever a URL or a name server says."""

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from silkline.config import FetchSettings
from silkline.errors import ImageFetchFailed, SilklineError, UrlBlocked
from silkline.ingress.fetch import Fetcher, SystemResolver, _open_public_socket
from silkline.ingress.urls import parse
from tests.ingress.network import PUBLIC, PUBLIC_IPV6, Names, gives, raw_origin, redirects, within
from tests.ingress.spellings import blocked_urls

BODY = b"a picture"
CAP = 1000


async def outcome(fetcher: Fetcher, text: str) -> type[SilklineError] | bytes:
    try:
        return (await fetcher.fetch(parse(text), CAP, within(CAP))).data
    except SilklineError as error:
        return type(error)


async def test_no_spelling_reaches_a_private_address(dialled: list[str]) -> None:
    """Case 1: hundreds of spellings, a canary that hears none of them."""
    async with raw_origin(gives(BODY)) as canary:
        urls = blocked_urls(canary.port)
        assert len(urls) > 300
        names = Names(images_example=[["127.0.0.1"]], metadata=[["169.254.169.254"]])
        async with Fetcher(FetchSettings(), names) as fetcher:
            passed = [url for url in urls if await outcome(fetcher, url) is not UrlBlocked]
    assert passed == []
    assert dialled == []
    assert canary.connections == 0


async def test_names_of_private_addresses_are_blocked(dialled: list[str]) -> None:
    private = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1",
               "fe80::1%2", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fd00::1",
               "224.0.0.1", "not an address"]  # fmt: skip
    names = Names(**{f"n{place}_test": [[one]] for place, one in enumerate(private)})
    async with Fetcher(FetchSettings(), names) as fetcher:
        for name in list(names.answers):
            assert await outcome(fetcher, f"http://{name}/") is UrlBlocked
    assert dialled == []


@pytest.mark.parametrize(
    "answer",
    [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"], [PUBLIC_IPV6, "127.0.0.1"],
     [PUBLIC, PUBLIC_IPV6, "169.254.169.254"]],
)  # fmt: skip
async def test_one_private_address_among_public_ones_blocks_all(
    answer: list[str], dialled: list[str]
) -> None:
    async with Fetcher(FetchSettings(), Names(mixed_test=[answer])) as fetcher:
        assert await outcome(fetcher, "http://mixed.test/") is UrlBlocked
    assert dialled == []


async def test_a_name_that_changes_its_mind_gains_nothing(dialled: list[str]) -> None:
    """Case 2: what is dialled is what was checked, look-up for look-up."""
    turns = [[PUBLIC], ["127.0.0.1"], ["169.254.169.254"], [PUBLIC_IPV6], ["10.0.0.1", PUBLIC]]
    names = Names(rebind_test=turns)
    tries = 500
    async with Fetcher(FetchSettings(), names) as fetcher:
        seen = [await outcome(fetcher, "http://rebind.test/") for _ in range(tries)]
    assert len(names.asked) == tries  # one look-up a try: nobody asks again between check and use
    expected = [ImageFetchFailed, UrlBlocked, UrlBlocked, ImageFetchFailed, UrlBlocked]
    assert seen == expected * (tries // 5)
    assert dialled == [PUBLIC, PUBLIC_IPV6] * (tries // 5)


async def test_a_reused_connection_needs_no_name(dialled: list[str]) -> None:
    async with raw_origin(gives(BODY)) as origin:
        names = Names(origin_test=[["127.0.0.1"], [PUBLIC]])
        settings = FetchSettings(private_hosts=(f"origin.test:{origin.port}",))
        async with Fetcher(settings, names) as fetcher:
            url = f"http://origin.test:{origin.port}/"
            assert [await outcome(fetcher, url) for _ in range(3)] == [BODY] * 3
    assert dialled == ["127.0.0.1"]
    assert names.asked == ["origin.test"]


async def test_private_and_public_hosts_share_no_connection(dialled: list[str]) -> None:
    async with raw_origin(gives(BODY)) as origin:
        names = Names(a_test=[["127.0.0.1"]], b_test=[["127.0.0.1"]])
        settings = FetchSettings(private_hosts=(f"a.test:{origin.port}",))
        async with Fetcher(settings, names) as fetcher:
            assert await outcome(fetcher, f"http://a.test:{origin.port}/") == BODY
            assert await outcome(fetcher, f"http://b.test:{origin.port}/") is UrlBlocked
            assert await outcome(fetcher, f"http://127.0.0.1:{origin.port}/") is UrlBlocked
    assert dialled == ["127.0.0.1"]


async def test_only_allowed_hosts_are_asked_for(dialled: list[str]) -> None:
    names = Names(a_example=[[PUBLIC]], b_example=[[PUBLIC]])
    async with Fetcher(FetchSettings(allowed_hosts=("a.example",)), names) as fetcher:
        assert await outcome(fetcher, "http://a.example/") is ImageFetchFailed  # refused by test
        assert await outcome(fetcher, "http://b.example/") is UrlBlocked
        assert await outcome(fetcher, f"http://{PUBLIC}/") is UrlBlocked
    assert dialled == [PUBLIC]
    assert names.asked == ["a.example"]


def test_no_socket_is_made_for_a_private_address() -> None:
    """The second lock, on its own: it holds also if an address came past the resolver."""
    stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    with pytest.raises(UrlBlocked):
        _open_public_socket((*stream, ("127.0.0.1", 80)))
    _open_public_socket((*stream, (PUBLIC, 80))).close()


async def test_the_system_resolves_names() -> None:
    resolver = SystemResolver()
    found = await resolver.resolve("localhost", 80)
    assert {one["host"] for one in found} & {"127.0.0.1", "::1"}
    await resolver.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its own certificate for pictures.test, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=pictures.test",
         "-addext", "subjectAltName=DNS:pictures.test", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(key.read_text() + cert.read_text())
    return both


async def test_tls_keeps_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with raw_origin(gives(BODY), tls=tls) as origin:
        names = Names(pictures_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
        hosts = tuple(f"{name}:{origin.port}" for name in names.answers)
        settings = FetchSettings(private_hosts=hosts)
        async with Fetcher(settings, names) as fetcher:  # does not know the certificate
            url = f"https://pictures.test:{origin.port}/"
            assert await outcome(fetcher, url) is ImageFetchFailed
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with Fetcher(settings, names) as fetcher:
            assert await outcome(fetcher, url) == BODY
            assert origin.server_names[-1] == "pictures.test"
            assert origin.hits[-1].headers["host"] == f"pictures.test:{origin.port}"
            other = f"https://other.test:{origin.port}/"
            assert await outcome(fetcher, other) is ImageFetchFailed  # the name does not match
            await asyncio.sleep(0)


async def test_https_does_not_lead_to_http(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with raw_origin(gives(BODY)) as plain:
        away = redirects(f"http://127.0.0.1:{plain.port}/")
        async with raw_origin(away, tls=tls) as origin:
            hosts = (f"pictures.test:{origin.port}", f"127.0.0.1:{plain.port}")
            names = Names(pictures_test=[["127.0.0.1"]])
            async with Fetcher(FetchSettings(private_hosts=hosts), names) as fetcher:
                url = f"https://pictures.test:{origin.port}/"
                assert await outcome(fetcher, url) is UrlBlocked
        assert plain.connections == 0
