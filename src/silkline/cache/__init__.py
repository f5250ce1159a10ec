"""The answer cache: exact keys, tiers that store answers, and shared computations.

A broken, slow or missing cache costs time, never an answer: every failure in here is a cache miss.
"""
