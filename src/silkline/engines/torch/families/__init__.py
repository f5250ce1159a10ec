"""One adapter for each family of vision-language models."""
