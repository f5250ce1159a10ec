"""Trains a smaller model, the student, to answer as a larger one, the teacher."""
