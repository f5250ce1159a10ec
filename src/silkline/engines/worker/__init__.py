"""An engine in a process of its own, spoken to over a socket and kept alive by a supervisor.

`python -m silkline.engines.worker` is the process; `WorkerSupervisor` starts, watches and replaces
it; `WorkerEngine` is the far engine in the shape of a near one.
"""
