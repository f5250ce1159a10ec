"""What the log server needs to know about the events: an index template and a lifecycle policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from silkline.config import LogSettings

RETENTION_DAYS = 30
"""Days after which the policy deletes events."""

ROLLOVER_DAYS, ROLLOVER_SIZE = 1, "25gb"
"""Age and size at which the policy begins a new index behind the data stream."""

_NAME = "silkline-logs"
_PRIORITY = 500
"""Above the templates that Elasticsearch brings for `logs-*-*`."""

_KEYWORDS = {
    "strings": {
        "match_mapping_type": "string",
        "mapping": {"type": "keyword", "ignore_above": 1024},
    }
}
"""Fields that are not listed: text is matched as a whole."""

_PROPERTIES = {
    "@timestamp": {"type": "date"},
    "message": {"type": "text"},
    "error": {
        "properties": {
            "message": {"type": "text"},
            "stack_trace": {"type": "text", "index": False},
        }
    },
    "event": {"properties": {"duration": {"type": "long"}, "sequence": {"type": "long"}}},
    "http": {
        "properties": {
            "request": {"properties": {"id": {"type": "keyword", "ignore_above": 1024}}},
            "response": {"properties": {"status_code": {"type": "integer"}}},
        }
    },
    "process": {"properties": {"pid": {"type": "long"}}},
}
"""Fields of the Elastic Common Schema that are not keywords, or that views filter by."""


def setup_documents(settings: LogSettings) -> Mapping[str, bytes]:
    """Returns the documents of `log_setup` by their path, in the order to install them."""
    if settings.log_setup == "none":
        return {}
    documents = (
        elasticsearch_documents(settings.log_stream)
        if settings.log_setup == "elasticsearch"
        else opensearch_documents(settings.log_stream)
    )
    return {path: msgspec.json.encode(document) for path, document in documents.items()}


def elasticsearch_documents(stream: str) -> Mapping[str, Any]:
    """The lifecycle policy (ILM) and the template of a data stream, by their path."""
    return {
        f"/_ilm/policy/{_NAME}": {
            "policy": {
                "phases": {
                    "hot": {
                        "actions": {
                            "rollover": {
                                "max_age": f"{ROLLOVER_DAYS}d",
                                "max_primary_shard_size": ROLLOVER_SIZE,
                            }
                        }
                    },
                    "delete": {"min_age": f"{RETENTION_DAYS}d", "actions": {"delete": {}}},
                }
            }
        },
        f"/_index_template/{_NAME}": _template(stream, {"index.lifecycle.name": _NAME}),
    }


def opensearch_documents(stream: str) -> Mapping[str, Any]:
    """The lifecycle policy (ISM) and the template of a data stream, by their path."""
    return {
        f"/_plugins/_ism/policies/{_NAME}": {
            "policy": {
                "description": "Logs of Silkline.",
                "default_state": "written",
                "states": [
                    {
                        "name": "written",
                        "actions": [
                            {
                                "rollover": {
                                    "min_index_age": f"{ROLLOVER_DAYS}d",
                                    "min_primary_shard_size": ROLLOVER_SIZE,
                                }
                            }
                        ],
                        "transitions": [
                            {
                                "state_name": "deleted",
                                "conditions": {"min_rollover_age": f"{RETENTION_DAYS}d"},
                            }
                        ],
                    },
                    {"name": "deleted", "actions": [{"delete": {}}], "transitions": []},
                ],
                "ism_template": [{"index_patterns": [f"{stream}*"], "priority": _PRIORITY}],
            }
        },
        f"/_index_template/{_NAME}": _template(stream, {}),
    }


def _template(stream: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "index_patterns": [f"{stream}*"],
        "data_stream": {},
        "priority": _PRIORITY,
        "template": {
            "settings": dict(settings),
            "mappings": {"dynamic_templates": [_KEYWORDS], "properties": _PROPERTIES},
        },
    }
