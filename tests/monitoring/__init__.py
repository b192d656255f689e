"""Dashboard and alert rules, checked by Prometheus itself and by the series of a real process."""
