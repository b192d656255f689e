"""HTTP servers for small documents.

server.py     HTTP/1.1 on Trio, within limits
health.py     readiness by named targets
metrics.py    Prometheus text format
"""
