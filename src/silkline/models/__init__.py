"""Models: locates them, inspects their files, and stores them as bundles."""
