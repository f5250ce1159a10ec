"""Executes a request with an `Idempotency-Key` once; a retry gets the first one's answer."""
