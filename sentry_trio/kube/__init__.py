"""The Kubernetes API server: the session with it, what is known of the cluster, and who its tokens speak for."""
