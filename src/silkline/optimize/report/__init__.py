"""The page of a gate: one file with everything in it."""
