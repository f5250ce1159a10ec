"""Where to: the replicas of the engine, and what happens to requests when one of them is lost."""
