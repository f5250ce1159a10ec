"""Stores of idempotency keys: the interface, and its implementations."""
