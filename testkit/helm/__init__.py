"""Helm: the chart and Dapr's, rendered, and Kubernetes' own schemas to check them."""
