import errno
import socket

import pytest

from silkline.errors import EnvironmentFault
from silkline.gateway.address import (
    check_free,
    check_listening,
    listening_fault,
    reserved,
    shared_socket,
    url_of,
)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fd00::2", "http://[fd00::2]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_url_can_be_opened(host: str, url: str) -> None:
    assert url_of(host, 80) == url


@pytest.mark.parametrize(("port", "other"), [(8000, 8001), (65534, 65535), (65535, 0)])
def test_a_taken_port_names_another(port: int, other: int) -> None:
    taken = OSError(errno.EADDRINUSE, "taken")
    assert listening_fault("::1", port, taken) == (
        f"cannot listen on [::1]:{port}: Address already in use.",
        f"silkline up --port {other}",
    )


def test_another_port_does_not_help_where_the_port_is_not_at_fault() -> None:
    assert listening_fault("a", 80, PermissionError(errno.EACCES, "no"))[1] is None
    assert listening_fault("a", 80, socket.gaierror(socket.EAI_NONAME, "?")) == (
        "cannot listen on a:80: the host a cannot be resolved.",
        None,
    )


def test_a_taken_port_is_found_on_each_family() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as holder:
            holder.bind((host, 0))
            holder.listen()
            with pytest.raises(OSError, match="in use"):
                check_listening(host, holder.getsockname()[1])
        check_listening(host, 0)


def test_a_reserved_port_is_the_same_on_each_address_and_can_be_shared() -> None:
    with reserved("localhost", 0) as sockets:
        port = sockets[0].getsockname()[1]
        assert {bound.getsockname()[1] for bound in sockets} == {port}
        check_free("localhost", port)
        with shared_socket(sockets[0].family, sockets[0].getsockname()) as listening:
            listening.listen()
            with pytest.raises(EnvironmentFault, match="Address already in use"):
                check_free("localhost", port)


def test_a_port_on_which_another_listens_is_not_reserved() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = pytest.raises(EnvironmentFault, match="Address already in use")
        with refused, reserved("127.0.0.1", other.getsockname()[1]):
            pass
