"""Long work in the background: a folder of images on the command line, or a file of requests."""
