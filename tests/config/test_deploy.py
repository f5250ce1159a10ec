"""The section `[deploy]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from silkline.config import Settings, UpstreamSettings, load_settings
from silkline.config.shown import shown_settings
from silkline.errors import ConfigError


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "silkline.toml"
    file.write_text(f"[deploy]\n{text}\n")
    return load_settings(file, {}, {})


@pytest.mark.parametrize(
    "form",
    [
        'upstreams = ["10.0.0.1:8000 weight=3", "[::1]:8000"]',
        'upstreams = [{address = "10.0.0.1:8000", weight = 3}, {address = "[::1]:8000"}]',
        """[[deploy.upstreams]]
        address = "10.0.0.1:8000"
        weight = 3
        [[deploy.upstreams]]
        address = "[::1]:8000"
        """,
    ],
)
def test_upstreams_have_addresses_and_weights(tmp_path: Path, form: str) -> None:
    assert loaded(tmp_path, form).deploy.upstreams == (
        UpstreamSettings(address="10.0.0.1:8000", weight=3),
        UpstreamSettings(address="[::1]:8000", weight=1),
    )


def test_upstreams_may_be_a_variable() -> None:
    settings = load_settings(None, {"SILKLINE_UPSTREAMS": "a:1 weight=3, b:2 weight=2"}, {})
    assert [(each.address, each.weight) for each in settings.deploy.upstreams] == [
        ("a:1", 3),
        ("b:2", 2),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('upstreams = ["gateway"]', "expected host:port"),
        ('upstreams = ["a:0"]', "expected host:port"),
        ('upstreams = ["a:65536"]', "expected host:port"),
        ('upstreams = ["a:1;deny all"]', "expected host:port"),
        ('upstreams = ["a:1 weight=0"]', "greater than or equal to 1"),
        ('upstreams = ["a:1 wait=2"]', "Extra inputs are not permitted"),
        ('upstreams = ["a:1 3"]', "separated by spaces"),
        ('upstreams = ["a:1", "a:1 weight=2"]', "name an address twice"),
        ('tls_certificate = "/a.pem"', "both tls_certificate and tls_key"),
        ('tls_key = "/a b; include x"', "should match pattern"),
        ('ingress_host = "a.example; return 200"', "should match pattern"),
        ('image = "silkline 1"', "should match pattern"),
        ('deployment = "Silk_line"', "should match pattern"),
        ("engine_replicas = 20", "max_engine_replicas is 10"),
        ("gateway_replicas = 11", "max_gateway_replicas is 10"),
        ("autoscale = {backlog = 0}", "greater than 0"),
        ("autoscale = {queue = 1}", "Input should be"),
        ('trusted_proxies = ["10.0.0.1/8"]', "has host bits set"),
        ('trusted_proxies = ["all"]', "does not appear to be"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        loaded(tmp_path, text)
    assert "[deploy]" in caught.value.message


def test_a_fixed_number_of_replicas_has_no_maximum(tmp_path: Path) -> None:
    assert loaded(tmp_path, "engine_replicas = 20\nautoscale = {}").deploy.engine_replicas == 20


def test_paths_of_secrets_are_shown() -> None:
    settings = load_settings(
        None,
        {"SILKLINE_TLS_CERTIFICATE": "/tls/chain.pem", "SILKLINE_TLS_KEY": "/tls/key.pem"},
        {"tls_secret": "shop-tls"},
    )
    shown = {row["name"]: row["value"] for row in shown_settings(settings)}
    assert (shown["tls_key"], shown["tls_secret"]) == ("/tls/key.pem", "shop-tls")
