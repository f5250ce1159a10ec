"""`/v1/files` and `/v1/batches`, compatible with the official OpenAI client."""
