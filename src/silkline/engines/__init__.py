"""Who computes: the engine contract, the registry and the engines."""
