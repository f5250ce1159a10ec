"""The target `compose`: container images and a Compose file for the whole stack."""
