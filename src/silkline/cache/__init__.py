"""Was it answered before: the exact key, the tiers that keep answers, and shared computations.

A cache that is wrong, slow or gone costs time, never an answer: whatever goes wrong in here is a
miss.
"""
