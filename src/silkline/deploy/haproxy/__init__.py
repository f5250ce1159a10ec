"""The target `haproxy`: the configuration of a HAProxy in front of gateways."""
