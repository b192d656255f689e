"""OIDC server: discovery and key set over HTTP; imported only if it is enabled.

server.py       listens from the first run to the last
tls_files.py    its certificate and key, which may change
pages.py        answers to requests
hosts.py        host of a request, and the hosts that are served
urls.py         issuer, URL of the key set, paths
"""
