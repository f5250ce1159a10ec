"""Kibana's saved objects: a data view, a dashboard, and a view of all events of one request.

The charts are of the kind `visualization`, whose format Kibana and OpenSearch Dashboards share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

DATA_VIEW = "silkline-logs"
_DATA_VIEW_REFERENCE = "kibanaSavedObjectMeta.searchSourceJSON.index"
_REQUESTS = 'message : "request"'
_ERRORS = "error.code : *"
_WIDTH, _HEIGHT = 24, 12
"""Size of a panel; the dashboard is 48 wide."""


def saved_objects(stream: str) -> str:
    """Returns the saved objects as NDJSON, for Kibana's import."""
    charts = {
        "silkline-requests": _chart(
            "Requests by status", "histogram", _REQUESTS, [_count(), _over_time(), _by(_STATUS)]
        ),
        "silkline-latency": _chart(
            "Duration of requests (ns)", "line", _REQUESTS, [_percentiles(), _over_time()]
        ),
        "silkline-errors": _chart(
            "Errors by code", "histogram", _ERRORS, [_count(), _over_time(), _by("error.code")]
        ),
        "silkline-cache": _chart(
            "Requests by cache state",
            "histogram",
            _REQUESTS,
            [_count(), _over_time(), _by("silkline.cache")],
        ),
    }
    searches = {
        "silkline-request-list": _search(
            "Requests",
            _REQUESTS,
            ["http.request.id", "url.path", _STATUS, "event.duration", "error.code"],
            "desc",
        ),
        "silkline-request-trace": _search(
            "All events of a request: set http.request.id",
            "http.request.id : *",
            ["http.request.id", "log.level", "log.logger", "message", "trace.id"],
            "asc",
        ),
    }
    view = {"title": stream, "name": "Silkline logs", "timeFieldName": "@timestamp"}
    objects = [
        _object("index-pattern", DATA_VIEW, view, []),
        *(_object("visualization", name, chart, [_to_view()]) for name, chart in charts.items()),
        *(_object("search", name, search, [_to_view()]) for name, search in searches.items()),
        _dashboard(
            [*(("visualization", name) for name in charts), ("search", "silkline-request-list")]
        ),
    ]
    return "".join(json.dumps(found, sort_keys=True) + "\n" for found in objects)


_STATUS = "http.response.status_code"


def _object(
    kind: str, name: str, attributes: Mapping[str, Any], references: Sequence[Mapping[str, str]]
) -> Mapping[str, Any]:
    return {
        "type": kind,
        "id": name,
        "attributes": attributes,
        "references": list(references),
        "managed": False,
    }


def _to_view() -> Mapping[str, str]:
    return {"name": _DATA_VIEW_REFERENCE, "type": "index-pattern", "id": DATA_VIEW}


def _source(query: str) -> Mapping[str, str]:
    source = {
        "query": {"query": query, "language": "kuery"},
        "filter": [],
        "indexRefName": _DATA_VIEW_REFERENCE,
    }
    return {"searchSourceJSON": json.dumps(source)}


def _chart(
    title: str, kind: str, query: str, aggregations: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    numbered = [{"id": str(index), **one} for index, one in enumerate(aggregations, start=1)]
    state = {"title": title, "type": kind, "aggs": numbered, "params": {"type": kind}}
    return {
        "title": f"Silkline: {title}",
        "visState": json.dumps(state),
        "uiStateJSON": "{}",
        "kibanaSavedObjectMeta": _source(query),
    }


def _count() -> Mapping[str, Any]:
    return {"type": "count", "schema": "metric", "enabled": True, "params": {}}


def _percentiles() -> Mapping[str, Any]:
    parameters = {"field": "event.duration", "percents": [50, 95, 99]}
    return {"type": "percentiles", "schema": "metric", "enabled": True, "params": parameters}


def _over_time() -> Mapping[str, Any]:
    parameters = {"field": "@timestamp", "interval": "auto", "min_doc_count": 1}
    return {"type": "date_histogram", "schema": "segment", "enabled": True, "params": parameters}


def _by(field: str) -> Mapping[str, Any]:
    parameters = {"field": field, "size": 10, "order": "desc", "orderBy": "1"}
    return {"type": "terms", "schema": "group", "enabled": True, "params": parameters}


def _search(title: str, query: str, columns: Sequence[str], order: str) -> Mapping[str, Any]:
    return {
        "title": f"Silkline: {title}",
        "columns": list(columns),
        "sort": [["@timestamp", order], ["event.sequence", order]],
        "kibanaSavedObjectMeta": _source(query),
    }


def _dashboard(panels: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    placed = [
        {
            "type": kind,
            "panelIndex": str(index),
            "panelRefName": f"panel_{index}",
            "gridData": {
                "x": (index % 2) * _WIDTH,
                "y": (index // 2) * _HEIGHT,
                "w": 2 * _WIDTH if kind == "search" else _WIDTH,
                "h": _HEIGHT,
                "i": str(index),
            },
            "embeddableConfig": {},
        }
        for index, (kind, _) in enumerate(panels)
    ]
    attributes = {
        "title": "Silkline: requests",
        "panelsJSON": json.dumps(placed),
        "optionsJSON": "{}",
        "timeRestore": True,
        "timeFrom": "now-1h",
        "timeTo": "now",
        "kibanaSavedObjectMeta": {
            "searchSourceJSON": json.dumps(
                {"query": {"query": "", "language": "kuery"}, "filter": []}
            )
        },
    }
    references = [
        {"name": f"panel_{index}", "type": kind, "id": name}
        for index, (kind, name) in enumerate(panels)
    ]
    return _object("dashboard", "silkline", attributes, references)
