"""Experiments: which of two served models is better, by evidence that may be looked at any time."""
