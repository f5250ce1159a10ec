"""Several gateway processes that share a port, and the process that owns them and the workers."""
