"""The preprocessing contract: an engine must read images and prompts as transformers does."""
