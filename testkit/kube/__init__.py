"""API servers in memory."""
