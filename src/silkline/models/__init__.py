"""What is served: where a model lies, what it is, and how it is packed into a bundle."""
