"""Adapters for families of vision-language models, one for each family."""
