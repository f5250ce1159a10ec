"""Engines, which run models: the contract, the registry and the implementations."""
