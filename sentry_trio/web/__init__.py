"""HTTP servers for small documents.

server.py       HTTP/1.1 on Trio: accepts, shakes hands, drains
exchanges.py    requests and responses on one connection, within limits
connections.py  open connections: bounded, evicted, started in turn by peer
messages.py     requests and responses
health.py       readiness by named targets
metrics.py      Prometheus text format
"""
