import subprocess
import sys

from silkline.bench.spec import Target
from silkline.service.served import Served


def test_a_server_that_died_under_load_has_no_known_peak() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert Served(Target("A", "http://a"), process.pid).peak_bytes() is None
