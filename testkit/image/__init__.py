"""The container image: its Dockerfile and its containers without a container engine."""
