"""The series by topic: each module has its series, the enums of their labels, and what callers may say of them.

- `build`: the version
- `signing`: signing requests, their outcomes and how long their stages take
- `authority`: runs, restarts, the trust bundle in use
- `grpc`: connections, handshakes, calls, queue
- `oidc`: the OIDC server
- `jwks`: the key set of the jwks validator
- `jwt`: the rotation of JWT signing keys
- `audit`: what is not in the audit log
- `spelling`: how a gRPC status is spelled in a label

A class of these is a part of `Metrics`: it registers its series when it is initialised, with those whose labels are
known at 0, so that the first increase is seen as one. Parts share an instance: the names of their attributes differ.
"""
