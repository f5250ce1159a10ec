"""Spreads requests over the engine's replicas, and retries those that a replica loses."""
