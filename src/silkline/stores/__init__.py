"""Access to SQLite and Redis, for the cache and the idempotency keys."""
