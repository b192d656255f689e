"""The dapr CLI's own code for Kubernetes, as a program; tests/cluster runs it."""
