"""A picture comes in: its bytes are fetched or unpacked, decoded in a child process, and named.

Bytes from clients and origins are hostile until `decode` has turned them into an `Image`.
"""
