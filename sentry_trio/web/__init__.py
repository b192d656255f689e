"""HTTP: health and metrics.

- `asgi`: what the apps need of ASGI
- `listen`: a listening socket for a host and port as operators write them
- `server`: an ASGI app served on it until cancelled
- `health`: readiness by named targets, and the app that tells it
- `metrics`: the app that tells the metrics
"""
