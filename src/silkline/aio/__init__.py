"""Concurrency primitives on asyncio that several rooms share."""
