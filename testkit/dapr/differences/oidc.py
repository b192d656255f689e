"""Differences in the OIDC server."""

from typing import Final

from .entry import TOLERATED, Difference

ENTRIES: Final = (
    Difference(
        id="oidc-tls-off",
        dapr="TLS despite `--oidc-server-tls-enabled=false`",
        ours="no TLS",
        reason="the flag has its documented effect",
        shown="tests/oidc/test_server.py::test_no_tls_is_no_tls",
    ),
    Difference(
        id="oidc-prefix",
        dapr="a prefix without a leading slash is unreachable",
        ours="a slash is added",
        reason="the flag has its documented effect",
        seen={"status": ("404", "200")},
    ),
    Difference(
        id="oidc-empty-prefix",
        dapr="an empty prefix ends the process with a panic",
        ours="no prefix",
        reason="the flag has its documented effect",
        seen=TOLERATED,
    ),
    Difference(
        id="oidc-jwks-uri",
        dapr="`jwks_uri` drops the issuer's path",
        ours="kept",
        reason="the key set is found behind a path",
        seen={"body": (".*/jwks.json.*", ".*/mesh/jwks.json.*"), "header content-length": (r"\d+", r"\d+")},
    ),
    Difference(
        id="oidc-trusted-proxies",
        dapr="X-Forwarded-Host is used from everyone if hosts are listed, and only then",
        ours="the same, unless `--oidc-trusted-proxies` is set: then from these networks only, with or without a list",
        reason="only your proxy chooses the issuer",
        shown="tests/oidc/test_pages.py::test_a_trusted_proxy_replaces_the_host",
    ),
    Difference(
        id="oidc-forged-hosts",
        dapr="a derived issuer may hold a path, a query or another host (`X-Forwarded-Host: good:80@elsewhere`)",
        ours="rejected with 400",
        reason="no caller can name another issuer",
        shown="tests/dapr/test_oidc_hosts.py::test_hosts_that_make_no_good_issuer_are_rejected",
    ),
    Difference(
        id="oidc-empty-host",
        dapr="without a list an empty Host makes the issuer `https:`",
        ours="rejected with 400",
        reason="no document without an issuer",
        shown="tests/oidc/test_pages.py::test_a_host_that_makes_no_issuer",
    ),
    Difference(
        id="oidc-malformed-host",
        dapr="a malformed Host is rejected only if the issuer derives from it or is a URL",
        ours="accepted whenever the issuer does not derive from it",
        reason="the document does not depend on it",
        seen={"status": ("400", "200")},
    ),
    Difference(
        id="oidc-cache",
        dapr="a derived issuer may be cached by all for an hour, and errors carry no cache control",
        ours="`no-store`, unless hosts are limited",
        reason="one caller's host is not served to others",
        seen={"header cache-control": (".+", "no-store")},
    ),
    Difference(
        id="oidc-headers",
        dapr="no ETag, no Vary, no Allow on 405, and no length of a bad request's answer",
        ours="all of them",
        reason="unchanged documents are not sent again",
        seen={"header (etag|allow|vary|content-length)": ("\\(absent\\)", ".+")},
    ),
    Difference(
        id="oidc-head",
        dapr="HEAD is rejected",
        ours="answered",
        reason="monitoring uses it",
        seen={"status": ("405", "200")},
    ),
    Difference(
        id="oidc-bounds",
        dapr="no limits on bodies and idle connections",
        ours="limited in time and size",
        reason="no client can exhaust it",
        shown="tests/oidc/test_pages.py::test_a_body_that_is_too_long",
    ),
    Difference(
        id="oidc-tls-reload",
        dapr="a new TLS pair restarts everything, a bad one ends the process",
        ours="used for new connections; a bad one changes nothing",
        reason="renewal costs no call",
        shown="tests/oidc/test_server.py::test_a_bad_pair_changes_nothing",
    ),
)
