"""Differences in SignCertificate."""

from typing import Final

from .entry import NOT_SIGNED, SIGNED, Difference

ENTRIES: Final = (
    Difference(
        id="lifetime-within-the-issuer",
        dapr="certificates may outlive their issuer",
        ours="they end with the last path to a trust anchor",
        reason="no certificate fails before its stated end",
        seen={"lifetime": (".+", ".+")},
    ),
    Difference(
        id="expired-issuer",
        dapr="an expired issuer continues to sign",
        ours="FailedPrecondition",
        reason="the certificates would be useless",
        shown="tests/test_service.py::test_an_expired_issuer_signs_nothing",
    ),
    Difference(
        id="invalid-identity",
        dapr="a bad app ID, namespace or trust domain is Internal",
        ours="InvalidArgument, and the text names the field",
        reason="a caller's mistake is distinguished from a fault of the CA",
        seen={
            "status": ("INTERNAL", "INVALID_ARGUMENT"),
            "text": ("failed to sign certificate", "(app ID|namespace|trust domain).*"),
        },
    ),
    Difference(
        id="bounded-fields",
        dapr="fields of a request are bounded by its 4 MiB alone",
        ours="each field is [bounded](limits.md#requests) before validation, else InvalidArgument",
        reason="no invalid request costs a validator any work",
        seen={"status": ("OK|PERMISSION_DENIED|INTERNAL", "INVALID_ARGUMENT"), "text": (".*", ".+")},
    ),
    Difference(
        id="longest-rsa-key",
        dapr="RSA keys of any length are signed",
        ours="up to 8192 bits, else InvalidArgument",
        reason="Go's TLS accepts no longer ones, and they take much CPU",
        seen=NOT_SIGNED,
    ),
    Difference(
        id="csr-parse-texts",
        dapr="the text of a CSR that cannot be parsed is Go's",
        ours="the cause in other words",
        reason="Go's internals are not repeated",
        seen={
            "text": (
                "failed to parse certificate signing request: .+",
                "failed to parse certificate signing request: .+",
            )
        },
    ),
    Difference(
        id="csr-extensions",
        dapr="malformed alternative names that a CSR requests are an error",
        ours="signed: only the public key and its signature are read",
        reason="a request's other content has no effect anyway",
        seen=SIGNED,
    ),
    Difference(
        id="serial-numbers",
        dapr="the serial number may be zero",
        ours="never",
        reason="RFC 5280, section 4.1.2.2",
        shown="tests/ca/test_generate.py::test_serial_numbers_have_their_bounds",
    ),
    Difference(
        id="checked-before-it-leaves",
        dapr="a signed certificate is only parsed again",
        ours="names, usages, validity, key and signature are checked before it is sent",
        reason="a fault in software or hardware never reaches a workload",
        shown="tests/ca/test_check.py::test_each_difference_is_named",
    ),
)
