"""The files of the target `elastic`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from silkline.config import Settings
from silkline.deploy.documents import from_template
from silkline.deploy.elastic.kibana import saved_objects
from silkline.deploy.target import Files, Target
from silkline.observe.shipping.documents import elasticsearch_documents, opensearch_documents

LOG_FILE = "/var/log/silkline/silkline.log"
"""Where the shippers read: `silkline up --log-format json 2>> FILE`."""

_SHIPPERS = ("filebeat.yml", "fluent-bit.yaml", "vector.yaml", "rsyslog.conf")
_DEFAULT_URL = "http://127.0.0.1:9200"
_PORTS = {"http": 80, "https": 443}
_PACKAGE = "silkline.deploy.elastic"


def _files(settings: Settings) -> Files:
    url = settings.log.log_ship_url or _DEFAULT_URL
    stream = settings.log.log_stream
    parts = urlsplit(url)
    values = {
        "url": url,
        "host": parts.hostname,
        "port": parts.port or _PORTS[parts.scheme],
        "tls": parts.scheme == "https",
        "stream": stream,
        "log_file": LOG_FILE,
        "work_folder": "/var/spool/rsyslog",
    }
    kinds = {
        "elasticsearch": elasticsearch_documents(stream),
        "opensearch": opensearch_documents(stream),
    }
    return {
        **{name: from_template(_PACKAGE, f"{name}.jinja", **values) for name in _SHIPPERS},
        **{
            f"{kind}/{_file_name(path)}": json.dumps(document, indent=2) + "\n"
            for kind, documents in kinds.items()
            for path, document in documents.items()
        },
        **{f"{kind}/install.sh": _install(url, documents) for kind, documents in kinds.items()},
        "kibana.ndjson": saved_objects(stream),
    }


def _file_name(path: str) -> str:
    return "index-template.json" if "_index_template" in path else "lifecycle-policy.json"


def _install(url: str, documents: Mapping[str, Any]) -> str:
    return from_template(
        _PACKAGE,
        "install.sh.jinja",
        url=url,
        documents={path: _file_name(path) for path in documents},
    )


ELASTIC = Target(
    "elastic", "templates, policies, Kibana's views and log shippers for the logs", _files
)
