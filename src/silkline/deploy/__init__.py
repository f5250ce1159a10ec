"""Renders the configuration of what runs beside a server, from its settings.

`target` is what a target has, `catalogue` lists them, `output` writes and compares files.
"""
