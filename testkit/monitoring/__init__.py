"""A real Prometheus, and the expressions of rules and dashboard."""
