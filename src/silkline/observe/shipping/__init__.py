"""Ships log events to Elasticsearch or OpenSearch, without ever blocking a request.

An event goes from the handler's queue in memory to a spool on disk, in one thread, and from there
to the server, in another. See `docs/decisions/0039-shipping-logs.md`.
"""
