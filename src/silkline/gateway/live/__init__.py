"""Live figures for the console: one snapshot a second, computed once for all listeners."""
