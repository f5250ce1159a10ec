"""SQLite and Redis, as the cache and the idempotency keys reach them."""
