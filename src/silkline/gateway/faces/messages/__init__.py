"""`POST /v1/messages`, compatible with the official Anthropic clients."""
