"""Messages and service stubs generated from protos/; `make protos` writes them, `make drift` checks them."""
