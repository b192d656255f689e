"""Demonstration of restarts under load: `make demo`.

Callers request certificates all the time while the certificate authority's configuration is edited, its issuer and its
root are replaced, and its files are broken and repaired. The screen shows each step with the calls that failed in it,
beside the figures of Dapr Sentry under the same treatment. At the end an authority of its own renews itself, under
callers that know the old root, the new one, or both.

| module | content |
|---|---|
| `__main__` | command line |
| `trust` | roots, issuers and the files made of them |
| `server` | the process, and a supervisor that starts it again |
| `callers` | threads that request certificates, and what they count |
| `steps` | the treatment |
| `renewal` | the renewal, and the control without its bridge |
| `figures` | results, and those of Dapr Sentry |
| `screen` | live display and summary |
"""
