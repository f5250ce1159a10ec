"""Metrics of correctness, one file per family; `catalogue` lists them all."""
