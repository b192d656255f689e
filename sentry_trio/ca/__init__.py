"""The certificate authority itself: bytes and values in, frozen values out; no waiting, no clock, no files.

What a certificate authority is made of:
    keys            kinds of private keys; making, reading and writing them
    pem             blocks in PEM, read as Go reads them
    bundle          the trust bundle, as stored and as verified
    generate        a new one
    verify          whether a stored one makes a certificate authority
    paths           the paths from its issuer to its anchors
    expiry          how long its certificates will last
    lineage         which of them signed which

What it does:
    csr             read a certificate signing request
    spiffe          SPIFFE IDs and trust domains
    dns             DNS names of Dapr's control plane
    images          the extension with container images
    issue           sign a workload certificate
    check           check what was signed before it leaves

JWTs beside certificates, imported only where they are issued:
    jwk             public keys and sets of them, as JSON
    jwt_key         the signing key and its key set: made, read, held to each other
    jwt_rotation    when the next key takes over
    jwt             the tokens
    jwts published  what others need to know of them, at no cost

What these stand on:
    certificates    certificates, read from DER, and checks on them
    extensions      extensions of certificates; general_names and distinguished_names: the names in them
    signatures      signature algorithms: verifying and signing; public_keys: the keys that verify
    compose         certificates, written in DER
    asn1            reader and writer of DER
    parsing         error boundary around parsers of untrusted bytes
"""
