"""The preprocessing contract: does an engine read pictures and prompts as transformers does."""
