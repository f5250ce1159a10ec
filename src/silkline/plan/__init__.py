"""What hardware a model and its traffic need, before any is bought."""
