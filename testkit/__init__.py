"""Helpers that tests, benchmarks and documentation share.

Tests and benchmarks import from here and not from each other; only tests/benchmarks, which tests the benchmarks,
imports them. This package imports neither, and is not installed. A helper that only one package of tests uses is in
that package.

    processes       `sentry-trio` as a process of its own: free ports, its log, signals, exit code
    subject         the same, up and serving, with health and metrics read over HTTP
    command_line    commands of `sentry-trio` in this process
    authorities     trust bundles and CSRs in memory; a whole application served in this process
    credentials     issuer credentials on disk, replaced as the kubelet replaces a volume
    ports           free ports for programs that cannot report theirs
    locks           locks between the processes of a test run
    log_capture     log lines of a block of code
    leftovers       descriptors, tasks and threads left behind; cancellation after any number of steps
    stores          trust bundles in stores of parts
    crashing        saves that are killed at every file operation
    audit_chains    audit logs in memory
    hostile_tokens  tokens that every validator must reject
    http_client     a raw HTTP/1.1 client
    jwks_server     a key set's source over HTTP and TLS
    scraping        metrics, read by Prometheus' parser
    doc_pages       the pages of docs/ and their code blocks
    doc_session     a shell session that runs the commands of a page

    ca              certificates, mutants of them, and certificates that other programs have made
    grpc            toys: a service with a method for each behaviour of a handler; raw: an HTTP/2 client
    attackers       hostile HTTP/2 clients, in this process or another
    kube            API servers in memory: fakes (objects), objects (lists and watches), pods_api, fake_review (tokens)
    oidc            an OIDC server over TLS, and a relying party

    go_modules      programs that Go builds from modules here, with pinned versions
    clients         grpc_go: a load client
    go_x509         Go's crypto/x509
    cluster         a real kube-apiserver and etcd
    dapr            Dapr's programs; differences: all deliberate differences from Dapr Sentry
    dapr_cli        the dapr CLI
    helm            helm, the chart and Dapr's chart
    image           the container image without a container engine
    monitoring      a real Prometheus; the expressions of rules and dashboard
"""
