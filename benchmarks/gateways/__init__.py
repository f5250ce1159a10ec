"""Measures gateways side by side, in front of the same upstream server: see `__main__`."""
