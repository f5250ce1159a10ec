from pathlib import Path

import pytest

from silkline.config import ModelSettings, Settings, field_info, load_settings, section_of_field
from silkline.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "silkline.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_stand_without_any_source() -> None:
    assert load_settings(None, {}, {}) == Settings()


def test_later_sources_win(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = 1001\nhost = '127.0.0.2'\ndrain_timeout = 7\n")
    environment = {"SILKLINE_PORT": "1002", "SILKLINE_HOST": "127.0.0.3", "PATH": "/bin"}
    server = load_settings(file, environment, {"port": 1003, "host": None}).server
    assert (server.port, server.host, server.drain_timeout) == (1003, "127.0.0.3", 7)


def test_silkline_toml_of_the_working_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[engine]\nmax_batch = 3\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}, {}).engine.max_batch == 3


def test_lists_and_tables_come_as_text() -> None:
    environment = {
        "SILKLINE_ALLOWED_HOSTS": "a.example, *.b.example",
        "SILKLINE_PRIVATE_HOSTS": '["127.0.0.1:9000"]',
        "SILKLINE_ENGINE_OPTIONS": '{"mode": "echo"}',
    }
    settings = load_settings(None, environment, {})
    assert settings.fetch.allowed_hosts == ("a.example", "*.b.example")
    assert settings.fetch.private_hosts == ("127.0.0.1:9000",)
    assert settings.engine.engine_options == {"mode": "echo"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode=echo", {"mode": "echo"}),
        (" mode = echo , stop=a=b,", {"mode": "echo", "stop": "a=b"}),
        ('{"mode": "a,b=c"}', {"mode": "a,b=c"}),
        ("", {}),
    ],
)
def test_a_table_reads_the_same_from_a_variable_and_a_flag(
    text: str, expected: dict[str, str]
) -> None:
    for environment, flags in (
        ({"SILKLINE_ENGINE_OPTIONS": text}, {}),
        ({}, {"engine_options": text}),
    ):
        assert load_settings(None, environment, flags).engine.engine_options == expected


@pytest.mark.parametrize(
    "texts", [("a.example,b.example",), ("a.example", "b.example"), ('["a.example","b.example"]',)]
)
def test_a_list_may_come_in_one_flag_or_in_several(texts: tuple[str, ...]) -> None:
    settings = load_settings(None, {}, {"allowed_hosts": texts})
    assert settings.fetch.allowed_hosts == ("a.example", "b.example")


KUBERNETES = {
    "SILKLINE_SERVICE_HOST": "10.0.0.1",
    "SILKLINE_SERVICE_PORT": "8000",
    "SILKLINE_SERVICE_PORT_HTTP": "8000",
    "SILKLINE_PORT": "tcp://10.0.0.1:8000",
    "SILKLINE_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "SILKLINE_PORT_8000_TCP_PROTO": "tcp",
    "SILKLINE_PORT_8000_TCP_PORT": "8000",
    "SILKLINE_PORT_8000_TCP_ADDR": "10.0.0.1",
    "SILKLINE_REDIS_MASTER_SERVICE_HOST": "fd00::1",
    "SILKLINE_REDIS_MASTER_PORT": "tcp://[fd00::1]:6379",
}


def test_what_kubernetes_sets_beside_a_service_is_left_alone() -> None:
    assert load_settings(None, KUBERNETES, {}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SILKLINE_SERVICE_HOST", "not an address"),
        ("SILKLINE_SERVICE", "10.0.0.1"),
        ("SILKLINE_PORT", "http://10.0.0.1:8000"),
        ("SILKLINE_PORT", "tcp://10.0.0.1"),
        ("SILKLINE_PORT_8000_TCP_NAME", "tcp"),
        ("SILKLINE_MAX_BATCH_PORT", "8000"),
    ],
)
def test_what_only_looks_like_kubernetes_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError):
        load_settings(None, {name: value}, {})


@pytest.mark.parametrize("field", ["drain_timeout", "keep_alive_timeout"])
def test_seconds_that_the_server_counts_whole_are_whole(field: str) -> None:
    assert getattr(load_settings(None, {}, {field: "7"}).server, field) == 7
    with pytest.raises(ConfigError, match=field):
        load_settings(None, {}, {field: 7.5})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[servr]\nport = 1\n", "Did you mean server?"),
        ("[server]\nprt = 1\n", "Did you mean port?"),
        ("[experiments.e.changes]\nmax_pixel = 1\n", "Did you mean max_pixels?"),
        ("[experiments.e]\nchanges = { sytem = 'x' }\n", "Did you mean system?"),
        ("port = 1\n", "is unknown"),
        ("server = 1\n", "write [server]"),
        ("[server]\nport = 70000\n", "port in [server] is 70000"),
        ("[server]\nport = 'x'\n", "port in [server] is 'x'"),
        ("[server\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_named(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text), {}, {})
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SILKLINE_PROT": "1"}, "variable SILKLINE_PROT is unknown. Did you mean port?"),
        ({"SILKLINE_PORT": "many"}, "port in [server] is 'many'"),
        ({"SILKLINE_LOG_LEVEL": "loud"}, "should be 'debug', 'info', 'warning' or 'error'"),
        ({"SILKLINE_REMOTES": "foo"}, "is 'foo': expected http"),
        ({"SILKLINE_ALLOWED_HOSTS": "["}, "is not valid JSON"),
        ({"SILKLINE_ALLOWED_HOSTS": '{"a": 1}'}, "expected a, b or a JSON list"),
        ({"SILKLINE_ENGINE_OPTIONS": "mode"}, "expected name=value, ... or a JSON object"),
        ({"SILKLINE_ENGINE_OPTIONS": "=echo"}, "expected name=value, ... or a JSON object"),
        ({"SILKLINE_ENGINE_OPTIONS": '["mode"]'}, "expected name=value, ... or a JSON object"),
    ],
)
def test_a_wrong_variable_is_refused(environment: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, environment, {})
    assert expected in caught.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_settings(tmp_path / "none.toml", {}, {})


def test_names_are_unique_across_sections_and_described() -> None:
    fields = section_of_field()
    declared = [
        name
        for section, group in Settings.model_fields.items()
        if section not in {"models", "experiments"}
        for name in group.annotation.model_fields  # type: ignore[union-attr]
    ]
    assert sorted(fields) == sorted(declared)
    assert all(field_info(field).description for field in fields)
    assert all(field.description for field in ModelSettings.model_fields.values())


@pytest.mark.parametrize(
    "given", ["http://user:s3cret@h", "http://user:p@s3cret@h x y", "https://s3cret@h:99999/v1"]
)
def test_a_wrong_url_does_not_show_its_password(given: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(None, {"SILKLINE_REMOTES": given}, {})
    assert "://...@h" in refused.value.message
    assert "s3cret" not in refused.value.message
