"""What an operator is shown of a certificate authority that runs elsewhere; the authority itself has no use for it.

How it is told:
    report      all that one look has found
    health      of it, what `/livez?verbose` says of one replica
    figures     and what its metrics say
    judging     what of it needs attention, and what agrees
    drawing     all of it for a terminal
    bars        time left, in drawing
    document    all of it as JSON

How it is found out:
    http        one GET, in bounds
    replicas    one replica, over HTTP
    store       the public parts of the trust bundle
    cluster     pods, Secret and ConfigMap, as far as the rights at hand go
    look        one look at everything

The first seven are pure.
"""
