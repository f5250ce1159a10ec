"""The HTTP gateway: routes, error responses, request ids, draining."""
