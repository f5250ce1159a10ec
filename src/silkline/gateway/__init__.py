"""The HTTP face: routes, the error body, request ids, draining."""
