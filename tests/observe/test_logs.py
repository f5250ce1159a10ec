import json
import logging

from silkline.observe.logs import EcsFormatter


def record(message: str, **ecs: object) -> logging.LogRecord:
    made = logging.LogRecord("silkline.access", logging.INFO, "f.py", 1, message, (), None)
    made.ecs = ecs
    return made


def test_an_event_is_one_line_of_json_whatever_it_holds() -> None:
    hostile = "a\r\nb\x1b[31m\u2028c"
    line = EcsFormatter().format(record(hostile, **{"url.path": hostile}))
    assert len(line.splitlines()) == 1
    event = json.loads(line)
    assert event["message"] == event["url.path"] == hostile
    assert event["log.level"] == "info"
    assert event["@timestamp"].endswith("+00:00")
