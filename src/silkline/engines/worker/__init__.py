"""Runs an engine in a process of its own, behind a socket, kept alive by a supervisor.

`python -m silkline.engines.worker` is the process. `WorkerSupervisor` starts, checks and
replaces it. `WorkerEngine` is an `Engine` that proxies to it.
"""
