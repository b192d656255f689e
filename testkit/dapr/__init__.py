"""Dapr's own programs and the list of deliberate differences from Dapr Sentry."""
