"""Scorers: how much better one answer to a question is than another."""
