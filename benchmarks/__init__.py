"""Side-by-side measurements: one file a question, see README.md."""
