"""The gate: nothing is reached without a key but the probes."""

from __future__ import annotations

import ast
import base64
import inspect
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIStatusError
from fastapi import FastAPI
from openai import AuthenticationError, OpenAI
from starlette.routing import BaseRoute, Route

from silkline.config import Settings
from silkline.gateway import keys as keys_module
from silkline.gateway.app import create_app
from silkline.routing.pool import EnginePool
from silkline.service.lifecycle import Lifecycle
from tests.gateway.asking import MODEL, asked, messages
from tests.gateway.keyrings import Keys, bearer, write_keys
from tests.gateway.raw import Address, exchange, head
from tests.pictures import data_url, encoded
from tests.service.models import deployed
from tests.serving import Served, served

PROBES = ("/live", "/ready", "/health")
OPEN = {(method, path) for method in ("GET", "HEAD") for path in PROBES}

HOST = ("host", "localhost")
WRONG = "sk-silk-" + "A" * 43

HEADERS = {
    "no key": [HOST],
    "a wrong key": [HOST, ("authorization", f"Bearer {WRONG}")],
    "an empty key": [HOST, ("authorization", "Bearer ")],
    "no scheme": [HOST, ("authorization", WRONG)],
    "a wrong password": [
        HOST,
        ("authorization", "Basic " + base64.b64encode(f"x:{WRONG}".encode()).decode()),
    ],
    "broken Basic": [HOST, ("authorization", "Basic @@@")],
    "bytes": [HOST, ("authorization", "Bearer \xff\xfe")],
    "another header": [HOST, ("x-api-key", WRONG), ("cookie", f"key={WRONG}")],
    "a crafted host": [("host", "localhost/live?")],
    "another crafted host": [("host", "localhost/live#")],
    "overrides": [
        HOST,
        ("x-http-method-override", "GET"),
        ("x-original-url", "/live"),
        ("x-rewrite-url", "/live"),
    ],
    "a proxy": [
        HOST,
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-prefix", "/live"),
        ("x-forwarded-host", "localhost/live"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=127.0.0.1;host=localhost"),
        ("x-real-ip", "127.0.0.1"),
    ],
}

PATHS = {
    "itself": "{path}",
    "two slashes": "/{path}",
    "a dot": "/%2e{path}",
    "below a probe": "/live/..{path}",
    "below a probe, encoded": "/live%2f..{path}",
    "a parameter": "/live;{path}",
    "a query": "{path}?/live",
    "a fragment": "{path}#/live",
    "a URL": "http://localhost{path}",
    "a user": "http://localhost/live@localhost{path}",
}


def all_routes(routers: list[BaseRoute]) -> Iterator[Route]:
    for route in routers:
        if isinstance(route, Route):
            yield route
        else:  # FastAPI keeps an included router as one
            yield from all_routes(route.original_router.routes)  # type: ignore[attr-defined]


def routes() -> list[tuple[str, str]]:
    """Every method and path that the application knows, with its parameters filled in."""
    app = create_app(Settings(), deployed(lambda: EnginePool([])), Lifecycle())
    while not isinstance(app, FastAPI):
        app = app._app  # type: ignore[attr-defined]
    found = set()
    for route in all_routes(app.router.routes):
        assert route.methods
        found |= {(method, route.path) for method in route.methods}
    described = {
        (method.upper(), path.replace("{name}", "{name:path}"))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert described <= found
    return sorted((method, path.replace("{name:path}", MODEL)) for method, path in found)


ROUTES = routes()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def guarded(keys: Keys) -> Iterator[Served]:
    with served("--engine", "fake", "--keys-file", str(keys.file)) as running:
        yield running


@pytest.fixture(scope="module")
def address(guarded: Served) -> Address:
    return guarded.host_and_port


def test_the_matrix_knows_the_routes() -> None:
    known = {path for _, path in ROUTES}
    assert set(ROUTES) > OPEN
    assert {"/", "/app.js", "/metrics", "/openapi.json", "/predict", "/v1/models"} < known
    assert "/v1/chat/completions" in known


@pytest.mark.parametrize("kind", HEADERS)
def test_no_route_is_reached_without_a_key(address: Address, kind: str) -> None:
    for method, path in ROUTES:
        reply = exchange(address, head(path, method, HEADERS[kind]), method=method)
        assert reply.status == (200 if (method, path) in OPEN else 401), (method, path)
        if reply.status == 401 and method != "HEAD":
            assert reply.code == "invalid_api_key"
            assert reply.headers["www-authenticate"] == 'Bearer realm="silkline"'


@pytest.mark.parametrize("form", PATHS)
def test_no_spelling_of_a_path_goes_around_the_gate(address: Address, form: str) -> None:
    harmless = form in {"a query", "a fragment", "a URL"}  # they name the same path
    for method, path in ROUTES:
        reply = exchange(address, head(PATHS[form].format(path=path), method), method=method)
        expected = 200 if (method, path) in OPEN and (form == "itself" or harmless) else 401
        assert reply.status == expected, (method, path)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_the_probes_are_open_for_looking_alone(address: Address, method: str) -> None:
    for path in PROBES:
        request = head(path, method, [HOST, ("x-http-method-override", "GET")])
        assert exchange(address, request).status == 401


def test_two_keys_are_none(address: Address, keys: Keys) -> None:
    good = ("authorization", f"Bearer {keys.shop}")
    wrong = ("authorization", f"Bearer {WRONG}")
    for both in ([HOST, good, wrong], [HOST, wrong, good], [HOST, good, good]):
        assert exchange(address, head("/v1/models", headers=both)).status == 401
    assert exchange(address, head("/v1/models", headers=[HOST, good])).status == 200


def test_a_key_may_come_as_x_api_key(address: Address, keys: Keys) -> None:
    plain, bearer_key = ("x-api-key", keys.shop), ("authorization", f"Bearer {keys.shop}")
    password = ("authorization", basic(keys.shop)["authorization"])
    wrong, wrong_bearer = ("x-api-key", WRONG), ("authorization", f"Bearer {WRONG}")
    for good in ([plain], [plain, bearer_key], [plain, password]):
        assert exchange(address, head("/v1/models", headers=[HOST, *good])).status == 200
    for bad in ([wrong], [plain, wrong], [plain, plain], [plain, wrong_bearer], [wrong, bearer_key],
                [wrong, password], [("x-api-key", "")]):  # fmt: skip
        assert exchange(address, head("/v1/models", headers=[HOST, *bad])).status == 401


def test_the_official_anthropic_client_with_a_key(guarded: Served, keys: Keys) -> None:
    hello: list[Any] = [{"role": "user", "content": "Hello"}]
    with Anthropic(base_url=guarded.url, api_key=keys.shop, max_retries=0) as client:
        answer = client.messages.create(model=MODEL, max_tokens=8, messages=hello)
        assert answer.content
    for key, error in ((WRONG, "authentication_error"), (keys.scraper, "permission_error")):
        with (
            Anthropic(base_url=guarded.url, api_key=key, max_retries=0) as client,
            pytest.raises(APIStatusError) as refused,
        ):
            client.messages.create(model=MODEL, max_tokens=8, messages=hello)
        assert refused.value.type == error
        assert refused.value.request_id
        assert key not in str(refused.value)


def test_a_key_opens_what_it_is_for(guarded: Served, keys: Keys) -> None:
    with httpx2.Client(base_url=guarded.url) as http:
        for path in ("/", "/app.js", "/openapi.json", "/v1/models", f"/v1/models/{MODEL}"):
            assert http.get(path, headers=bearer(keys.shop)).status_code == 200, path
            assert http.get(path, headers=bearer(keys.scraper)).status_code == 403, path
        assert http.get("/metrics", headers=bearer(keys.scraper)).status_code == 200
        for spelling in ("/metrics", "/%6detrics"):
            refused = http.get(spelling, headers=bearer(keys.shop))
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        assert http.get("/none", headers=bearer(keys.shop)).status_code == 404
        expired = http.get("/v1/models", headers=bearer(keys.expired))
        assert expired.status_code == 401
        assert "expired" in expired.json()["error"]["message"]


def test_the_official_client_with_a_key(guarded: Served, keys: Keys) -> None:
    url = f"{guarded.url}/v1"
    picture = messages(data_url(encoded()))
    with OpenAI(base_url=url, api_key=keys.shop, max_retries=0) as client:
        answer = client.chat.completions.create(model=MODEL, messages=picture)  # type: ignore[arg-type]
        assert answer.choices[0].message.content
    with OpenAI(base_url=url, api_key=WRONG, max_retries=0) as client:
        with pytest.raises(AuthenticationError) as refused:
            client.models.list()
        assert refused.value.code == "invalid_api_key"
        assert WRONG not in str(refused.value)


def basic(key: str, user: str = "anyone") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}


@pytest.mark.parametrize(
    ("method", "browser", "status"),
    [
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "none"}, 200),
        ("POST", {}, 200),
        ("POST", {"origin": "{url}"}, 200),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-site"}, 403),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        (
            "GET",
            {
                "sec-fetch-site": "cross-site",
                "sec-fetch-mode": "navigate",
                "sec-fetch-dest": "iframe",
            },
            403,
        ),
        (
            "GET",
            {
                "sec-fetch-site": "cross-site",
                "sec-fetch-mode": "navigate",
                "sec-fetch-dest": "document",
            },
            200,
        ),
    ],
)
@pytest.mark.parametrize("guard", ["a browser's password", "no keys"])
def test_what_a_browser_adds_by_itself_counts_on_own_pages_only(
    guarded: Served,
    gateway: Served,
    keys: Keys,
    guard: str,
    method: str,
    browser: dict[str, str],
    status: int,
) -> None:
    server, credentials = (gateway, {}) if guard == "no keys" else (guarded, basic(keys.shop))
    headers = {name: value.format(url=server.url) for name, value in browser.items()}
    path = "/v1/chat/completions" if method == "POST" else "/v1/models"
    body = asked() if method == "POST" else None
    with httpx2.Client(base_url=server.url, headers=headers | credentials) as http:
        assert http.request(method, path, json=body).status_code == status
    if credentials:  # no page of another site can send a Bearer token
        with httpx2.Client(base_url=server.url, headers=headers | bearer(keys.shop)) as http:
            assert http.request(method, path, json=body).status_code == 200


@pytest.mark.parametrize(
    ("headers", "asked_for"),
    [
        ({"sec-fetch-mode": "navigate"}, True),
        ({"sec-fetch-mode": "navigate", "authorization": "Basic eDp5"}, True),
        ({"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}, True),
        ({"accept": "text/html,*/*"}, True),
        ({"accept": "*/*"}, False),
        ({"sec-fetch-mode": "cors", "sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-mode": "no-cors", "sec-fetch-site": "cross-site"}, False),
        (
            {
                "sec-fetch-mode": "cors",
                "sec-fetch-site": "same-origin",
                "authorization": f"Bearer {WRONG}",
            },
            False,
        ),
    ],
)
def test_a_person_is_asked_for_a_password(
    guarded: Served, headers: dict[str, str], asked_for: bool
) -> None:
    reply = httpx2.get(guarded.url, headers=headers)
    challenges = reply.headers.get_list("www-authenticate")
    assert ('Basic realm="silkline", charset="UTF-8"' in challenges) == asked_for


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("shop.localhost:80", 200),
        ("gateway:8000", 200),
        ("my_service:8000", 200),
        ("LOCALHOST.:8000", 200),
        ("127.0.0.1.", 200),
        ("localhost:", 200),
        ("[fe80::1%25eth0]:8000", 200),
        ("[fe80::1%eth0]", 200),
        ("[::ffff:127.0.0.1]:8000", 200),
        ("host.docker.internal:8000", 200),
        ("Host.Docker.Internal.", 200),
        ("gateway.docker.internal", 200),
        ("host.containers.internal:80", 200),
        ("host.lima.internal", 200),
        ("host.minikube.internal:8000", 200),
        ("silkline.shop.svc.cluster.local:8000", 200),
        ("desk.local:8000", 200),
        ("desk.home.arpa", 200),
        ("shop.test:8000", 200),
        ("docker.internal.evil.example", 403),
        ("evil.example.", 403),
        ("local.evil.example", 403),
        ("evil.internal.com", 403),
        ("evilinternal.com", 403),
        ("evil.example/.internal", 403),
        ("evil.example:80.internal", 403),
        ("evil.example#.local", 403),
        ("evil.example@x.local", 403),
        (".internal", 403),
        ("home.arpa.com", 403),
        ("evil.arpa", 403),
        ("[::1].evil.example", 403),
        ("[fe80::1%.evil.example", 403),
        ("rebound.evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_a_server_without_keys_answers_to_no_public_name(
    gateway: Served, host: str, status: int
) -> None:
    request = head("/v1/models", headers=[("host", host)])
    assert exchange(gateway.host_and_port, request).status == status


def test_keys_are_compared_in_constant_time() -> None:
    """The digests meet in `hmac.compare_digest` and nowhere else."""
    tree = ast.parse(inspect.getsource(keys_module))
    holder = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "holder"
    )
    calls = [ast.unparse(node.func) for node in ast.walk(holder) if isinstance(node, ast.Call)]
    assert calls.count("hmac.compare_digest") == 1
    assert not [node for node in ast.walk(holder) if isinstance(node, ast.Compare)]
    decision = next(node for node in ast.walk(holder) if isinstance(node, ast.IfExp))
    assert ast.unparse(decision.test) == "hmac.compare_digest(known, digest)"
