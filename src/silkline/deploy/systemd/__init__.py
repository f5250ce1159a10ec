"""The targets `systemd` and `jetson`: units of a server on one machine."""
