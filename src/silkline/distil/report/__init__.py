"""The page of a distillation: one file with everything in it."""
