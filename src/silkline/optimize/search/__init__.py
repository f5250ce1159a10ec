"""Searches for the fastest combination of optimisations that keeps the stated quality."""
