"""The chart, rendered by a real helm and held to Kubernetes' own schemas; it is installed in tests/cluster."""
