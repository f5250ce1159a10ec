"""A shop at 12 million requests a day, measured whole: see `__main__`."""
