"""`/v1/responses`: the Responses API of the official OpenAI client."""
