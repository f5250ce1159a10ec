"""The target `nginx`: the configuration of an nginx in front of gateways."""
