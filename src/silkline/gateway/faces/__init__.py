"""The API routes that answer questions, each with its own body and its own form of an answer."""
