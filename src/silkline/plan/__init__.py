"""Capacity: how many replicas traffic needs, and how policies of autoscaling do, simulated."""
