"""The certificate authority itself: bytes and values in, frozen values out; no waiting, no clock, no files.

Credentials:
    keys            private and public keys: make, read, write
    parts           the stored parts, and those that belong together
    pem             blocks in PEM as Go reads them, and corrections of common faults
    bundle          the trust bundle, as stored and as verified
    generate        a new one; signing of CA certificates
    generation      its next generation, with a bridge from the current one
    renewal         planner of renewals, by its parameters in renewal_policy
                    renewal_state, renewal_next: stored parts and their meaning; renewal_root: keys of roots;
                    renewal_schedule and renewal_commands: steps that are due, and steps of commands; renewal_steps and
                    renewal_command_steps: their changes
    root_key        key of a root, if it is kept; encrypted
    renewal_record  record of renewals: times, and former generations
    paths           the paths from its issuer to its anchors
    preflight       findings about a bundle before it is used; strictness: those about strict verifiers
    trust           issuers and trust anchors in use, which a new bundle must not cut off
    expiry          time left to its certificates
    lineage         signers of its certificates

Workload certificates:
    csr             read a certificate signing request
    spiffe          SPIFFE IDs, trust domains, DNS names of Dapr's control plane
    issue           sign a workload certificate
    check           check a signed certificate before it is sent

JWTs beside certificates, imported only if they are issued:
    jwk             public keys and sets of them, as JSON
    jwt_key         the signing key and its key set
    jwt_rotation    planner of key rotation
    jwt             the tokens
    published       facts for modules that issue none, without importing the library

Encodings:
    certificates    certificates, read from DER, and checks on them
    extensions      extensions of certificates; general_names and distinguished_names: the names in them
    signatures      signature algorithms: verifying and signing
    compose         certificates, written in DER
    asn1            reader and writer of DER
    parsing         error boundary around parsers of untrusted bytes
"""
