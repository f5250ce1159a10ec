"""The target `grafana`: dashboards, and what provisions them."""
