"""The target `prometheus`: scrape configuration, recording rules and alerts."""
