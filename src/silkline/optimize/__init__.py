"""May it be released: the gate between a model and what would replace it."""
