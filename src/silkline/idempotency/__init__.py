"""Remembers requests by their `Idempotency-Key`: the contract of a key store, and the stores."""
