"""Image ingress: fetches or unpacks an image, decodes it in a child process, computes its digest.

Bytes from clients and origins are hostile until `decode` has turned them into an `Image`.
"""
