"""A toy service under real TLS, and a raw HTTP/2 client."""
