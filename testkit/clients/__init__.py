"""A foreign client: grpc-go, under load."""
