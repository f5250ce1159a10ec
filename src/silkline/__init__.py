"""Silkline takes a vision-language model from a model id to a measured, gated endpoint."""

from importlib.metadata import version

__version__ = version("silkline")
