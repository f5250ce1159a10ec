"""The page of a fitted cascade: one file with everything in it."""
