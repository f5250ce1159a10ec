"""CI jobs that judge and ship a model."""
