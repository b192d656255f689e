"""Dashboard and alert rules, held to Prometheus itself and to what a real process tells."""
