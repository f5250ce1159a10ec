"""Runs tests in a network namespace of their own, where the kernel lets them have one."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

# That nothing can be reached is looked at from within, before anything else.
_NO_ROUTE = "if ip route get 93.184.216.34; then exit 1; fi"
_ALONE = ("unshare", "--user", "--map-root-user", "--net", "--")
_WHY_NOT = (
    "Not shown here: this needs unshare, ip and a network namespace, which the system refuses to "
    "give. Run it as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)."
)


@functools.cache
def _refused() -> bool:
    try:
        tried = subprocess.run([*_ALONE, "ip", "link"], capture_output=True, check=False)
    except FileNotFoundError:
        return True
    return tried.returncode != 0


def run_tests_alone(*arguments: str, before: str = "") -> str:
    """Runs pytest in a new network namespace; gives what it printed. All must pass.

    Args:
        arguments: What pytest runs.
        before: Shell commands that set the namespace up; it begins without any address or route.
    """
    if _refused():
        pytest.skip(_WHY_NOT)
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        [*_ALONE, "sh", "-ec", f'{_NO_ROUTE}\n{before}\nexec "$@"', "sh", *pytest_command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout
