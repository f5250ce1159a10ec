"""Serves models without an adapter: `generate` of transformers, in batches of equal shape.

A batch ends before the next one starts, so this path is slower than the packed batches of models
with an adapter. It is labelled `path=generic`.
"""
