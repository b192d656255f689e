"""HTTP: health, metrics and OIDC.

- `asgi`: what the apps need of ASGI
- `listen`: a listening socket for a host and port as operators write them
- `http11`: HTTP/1.1 on one connection
- `server`: an ASGI app served on it until cancelled
- `health`: readiness by named targets, and the app that tells it
- `metrics`: the app that tells the metrics
- `oidc`: the app that tells how tokens are verified
- `discovery`: the document of that name
- `oidc_urls`: the URLs in it, and the paths
- `hosts`: which host a request is for, and which are answered for
- `target`: what a request asks for
"""
