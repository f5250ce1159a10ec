"""From settings to a running service: served models, the path of a question, evaluation runs."""
