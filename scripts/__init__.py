"""What keeps the project in order."""
