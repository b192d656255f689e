"""The container image without a container engine: the Dockerfile's steps in directories, and what they make, run."""
