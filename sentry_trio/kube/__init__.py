"""The Kubernetes API server: the session with it, the index of the cluster, and token checks."""
