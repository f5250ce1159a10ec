"""The report of a job of the command line."""
