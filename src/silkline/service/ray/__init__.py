"""Workers on a Ray cluster, used like those of this machine (docs/ray.md).

`Fleet` deploys a model as an application of Ray Serve. Each of its replicas, a `ServeReplica`, runs
the model's engine, listens on a port, and tells the `Directory` where. The gateway connects to
these ports as it does to the sockets of local workers: requests do not pass through Ray.
"""
