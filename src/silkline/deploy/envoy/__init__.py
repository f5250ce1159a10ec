"""The target `envoy`: the configuration of an Envoy in front of gateways."""
