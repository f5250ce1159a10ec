"""Admission control: what a request costs, whose turn it is, and which requests to refuse."""
