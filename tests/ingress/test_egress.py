"""Case 8: who computes and who decodes needs no network, and who fetches keeps to its guard."""

import pytest

from tests.ingress.namespaces import run_tests_alone
from tests.ingress.network import PUBLIC
from tests.ingress.spellings import TARGETS


@pytest.mark.slow
def test_decoders_work_without_any_network() -> None:
    out = run_tests_alone("tests/ingress/test_normalise.py")
    assert "passed" in out
    assert "skipped" not in out


@pytest.mark.slow
def test_an_engine_works_without_any_network() -> None:
    out = run_tests_alone("tests/engines/test_fake.py", "-k", "InAWorker")
    assert "passed" in out
    assert "skipped" not in out


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_real_engine_works_without_any_network() -> None:
    pytest.importorskip("openvino_genai")
    out = run_tests_alone("tests/engines/test_openvino.py", "-k", "InAWorker")
    assert "passed" in out


@pytest.mark.slow
def test_the_guard_holds_where_private_addresses_are_real() -> None:
    """A canary at the cloud's own metadata address, and a real server at a public one."""
    addresses = [f"ip address add {address}/32 dev lo" for address in (*TARGETS[1:], PUBLIC)]
    before = "\n".join(["ip link set lo up", *addresses])
    out = run_tests_alone("tests/ingress/in_namespace.py", before=before)
    assert "3 passed" in out
