"""Environments: where an authority gets its credentials and its configuration from, one module per mode.

standalone.py    files; every caller is accepted
kubernetes.py    a Secret, a Configuration object, and pods that authenticate by a token

cluster_resources.py             connections and caches of Kubernetes mode
environment.py                   parts that both share
run_inputs.py                    inputs of a run, and the sources that they are read from
settings.py                      settings of both
workloads.py                     trust anchors that workloads hold

renewal.py, clocks.py            renewal of the certificate authority
renewal_report.py                its state, for health, metrics, log and Events
trust_gate.py, rejection.py      rejects trust bundles that would cut clients off
jwt.py                           signing key of JWTs
token_validators.py, jwks.py     validators that a configuration adds in either mode
"""
