"""Pages of other origins: what a browser is told, and what it may read."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx2
import pytest

from silkline.config import load_settings
from silkline.errors import ConfigError
from tests.gateway.asking import MODEL, asked
from tests.gateway.keyrings import Keys, bearer, write_keys
from tests.gateway.raw import exchange, head
from tests.gateway.test_bad_input import CHAT, check
from tests.pictures import data_url, encoded
from tests.serving import Served, served

APP = "https://app.example"
DEV = "http://localhost:3000"
EVIL = "https://evil.example"
SDK = "authorization,content-type,idempotency-key,x-stainless-os,x-stainless-retry-count"
READABLE = {
    "idempotent-replayed",
    "retry-after",
    "server-timing",
    "x-request-id",
    "x-silkline-cache",
    "x-silkline-ignored",
    "x-silkline-model",
    "x-silkline-pixel-budget",
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def listed(keys: Keys) -> Iterator[Served]:
    with served(
        "--engine", "fake", "--keys-file", str(keys.file), "--max-body-bytes", "2000000",
        "--cors-origins", APP, "--cors-origins", DEV,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def everyone() -> Iterator[Served]:
    with served("--engine", "fake", "--cors-origins", "*") as running:
        yield running


def preflight(
    server: Served, origin: str, path: str = CHAT, method: str = "POST", **headers: str
) -> httpx2.Response:
    asking = {"origin": origin, "access-control-request-method": method} | headers
    return httpx2.options(f"{server.url}{path}", headers=asking)


def from_page(origin: str, **headers: str) -> dict[str, str]:
    return {"origin": origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", **headers}


def names(reply: httpx2.Response, header: str) -> set[str]:
    return {name.strip().lower() for name in reply.headers.get(header, "").split(",")}


def may_read(reply: httpx2.Response, origin: str) -> bool:
    """Whether a browser gives the response to a page of an origin."""
    assert "access-control-allow-credentials" not in reply.headers
    assert "Origin" in reply.headers["vary"]
    if readable := reply.headers.get("access-control-allow-origin") in {origin, "*"}:
        assert names(reply, "access-control-expose-headers") >= READABLE
    return readable


@pytest.mark.parametrize("origin", [APP, DEV])
@pytest.mark.parametrize("path", [CHAT, "/predict", "/v1/models", "/none"])
def test_a_preflight_needs_no_key(listed: Served, origin: str, path: str) -> None:
    reply = preflight(listed, origin, path, **{"access-control-request-headers": SDK})
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == origin
    assert names(reply, "access-control-allow-methods") >= {"get", "post", "delete"}
    assert names(reply, "access-control-allow-headers") >= set(SDK.split(","))
    assert int(reply.headers["access-control-max-age"]) > 0
    assert "Origin" in reply.headers["vary"]
    assert "access-control-allow-credentials" not in reply.headers
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "origin",
    [EVIL, "https://app.example.evil.example", "http://app.example", f"{APP}:8443", f"{APP}/",
     "https://sub.app.example", "null", "*", "", "https://APP.example", f"{APP}, {EVIL}"],
)  # fmt: skip
def test_an_origin_that_is_not_listed_is_told_nothing(
    listed: Served, keys: Keys, origin: str
) -> None:
    refused = preflight(listed, origin)
    message = check(refused, 403, "forbidden")["message"]
    assert "cors_origins" in message
    reply = httpx2.post(
        f"{listed.url}{CHAT}", json=asked(), headers=from_page(origin) | bearer(keys.shop)
    )
    assert reply.status_code == 200  # a key is proof by itself
    for answer in (refused, reply):
        assert not may_read(answer, origin)


def test_without_the_setting_the_refusal_names_it(gateway: Served) -> None:
    reply = preflight(gateway, APP)
    assert check(reply, 403, "forbidden")["message"] == (
        "This server does not allow the page's origin. Have the operator list it in the "
        "setting cors_origins."
    )
    sent = httpx2.post(f"{gateway.url}{CHAT}", json=asked(), headers=from_page(APP))
    assert "cors_origins" in check(sent, 403, "forbidden")["message"]
    for answer in (reply, sent, httpx2.get(f"{gateway.url}/v1/models")):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_may_ask_and_read(listed: Served, keys: Keys) -> None:
    headers = from_page(APP) | bearer(keys.shop)
    with httpx2.Client(base_url=listed.url, headers=headers, timeout=30) as http:
        answer = http.post(CHAT, json=asked(data_url(encoded())))
        assert answer.status_code == 200
        streamed = http.post(CHAT, json=asked(stream=True))
        assert streamed.headers["content-type"].startswith("text/event-stream")
        for reply in (answer, streamed, http.get("/v1/models"), http.get("/live")):
            assert may_read(reply, APP)


def test_a_page_may_read_errors(listed: Served, keys: Keys) -> None:
    page = from_page(APP)
    key = page | bearer(keys.shop)
    with httpx2.Client(base_url=listed.url, timeout=30) as http:
        errors = {
            400: http.post(CHAT, json={}, headers=key),
            401: http.post(CHAT, json=asked(), headers=page),
            403: http.get("/metrics", headers=key),
            404: http.get("/none", headers=key),
            405: http.get(CHAT, headers=key),
            413: http.post(CHAT, content=b"x" * 2_000_001, headers=key),
            415: http.post(
                CHAT,
                content=gzip.compress(b"{}"),
                headers=key | {"content-type": "application/json", "content-encoding": "br"},
            ),
            431: http.get("/v1/models", headers=key | {"x-long": "x" * 40_000}),
        }
    for status, reply in errors.items():
        assert reply.status_code == status
        assert may_read(reply, APP), status


def test_with_a_star_every_page_may_ask(everyone: Served) -> None:
    for origin in (APP, EVIL, "null", "http://192.168.0.7:3000", "chrome-extension://abc"):
        reply = preflight(everyone, origin, **{"access-control-request-headers": SDK})
        assert reply.status_code == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        page = from_page(origin)
        answer = httpx2.post(f"{everyone.url}{CHAT}", json=asked(), headers=page)
        assert answer.status_code == 200
        assert may_read(answer, origin)


def test_a_star_opens_no_other_host(everyone: Served) -> None:
    """A name of a web site's own DNS stays refused."""
    headers = [("host", "rebound.evil.example"), ("origin", EVIL)]
    assert exchange(everyone.host_and_port, head("/v1/models", headers=headers)).status == 403


@pytest.mark.slow
def test_a_page_without_a_key_is_refused_where_others_are_listed() -> None:
    with served("--engine", "fake", "--cors-origins", DEV) as running:
        for origin, status in ((DEV, 200), (EVIL, 403)):
            reply = httpx2.post(f"{running.url}{CHAT}", json=asked(), headers=from_page(origin))
            assert reply.status_code == status
            assert may_read(reply, origin) == (origin == DEV)
        image = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        assert httpx2.get(f"{running.url}/v1/models/{MODEL}", headers=image).status_code == 403


def test_a_browsers_password_stays_with_own_pages(listed: Served, keys: Keys) -> None:
    """A browser adds it by itself, to a form that needs no preflight too."""
    with httpx2.Client(base_url=listed.url, auth=("anyone", keys.shop)) as http:
        files = {"image": encoded()}
        assert http.post("/predict", files=files, headers=from_page(APP)).status_code == 403
        assert http.post("/predict", files=files).status_code == 200


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"origin": APP}),
        ("OPTIONS", {"access-control-request-method": "POST"}),
        ("OPTIONS", {}),
        ("GET", {"origin": APP, "access-control-request-method": "POST"}),
    ],
)
def test_what_is_no_preflight_needs_a_key(
    listed: Served, method: str, headers: dict[str, str]
) -> None:
    reply = httpx2.request(method, f"{listed.url}/v1/models", headers=headers)
    assert reply.status_code == 401


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()),
        ("https://app.example, http://localhost:3000", ("https://app.example", DEV)),
        ("HTTPS://App.Example", ("https://app.example",)),
        ("https://app.example:443", ("https://app.example",)),
        ("http://app.example:80", ("http://app.example",)),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("https://größe.example", ("https://xn--gre-6ka8i.example",)),
        ("chrome-extension://abcdef", ("chrome-extension://abcdef",)),
        ("tauri://localhost", ("tauri://localhost",)),
        ("*", ("*",)),
    ],
)
def test_origins_are_brought_into_the_form_of_browsers(
    given: str, origins: tuple[str, ...]
) -> None:
    settings = load_settings(None, {"SILKLINE_CORS_ORIGINS": given}, {})
    assert settings.auth.cors_origins == origins


@pytest.mark.parametrize(
    "given",
    ["app.example", "localhost:3000", "https://app.example/", "https://app.example/page",
     "https://app.example?x", "https://user@app.example", "https://*.example", "https://",
     "null", "https://app.example:99999", "*, https://app.example", "//app.example",
     "https://a b.example", "https:app.example"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"SILKLINE_CORS_ORIGINS": given}, {})
    assert "cors_origins" in caught.value.message
    assert "https://app.example:8443" in caught.value.message
