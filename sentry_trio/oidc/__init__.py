"""The OIDC server as a part of the process; imported only where it is on.

server.py       what listens, from the first run to the last, and what is published meanwhile
tls_files.py    its certificate and key, which may change
"""
