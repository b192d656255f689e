"""An OIDC server over TLS, and a relying party."""
