"""What happens: metrics and logs."""
