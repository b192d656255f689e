"""Differences in credential files."""

from typing import Final

from .entry import REFUSED, TOLERATED, Difference

ENTRIES: Final = (
    Difference(
        id="incomplete-files",
        dapr="one or two of the three files missing: a new CA overwrites the rest",
        ours="an error that names what is missing; only an empty store is filled",
        reason="your CA is never lost by mistake",
        seen=REFUSED,
    ),
    Difference(
        id="files-replaced-as-a-set",
        dapr="files are written in place, unsynced, and keep old modes",
        ours="replaced as one set: temporary files, fsync, a commit record, renames; keys always 0600, owners kept",
        reason="a crash never leaves a mixed set",
        shown="tests/stores/test_power.py::test_every_power_cut_leaves_a_whole_set",
    ),
    Difference(
        id="foreign-pem-blocks",
        dapr="a foreign PEM block silently ends the list of trust anchors or the issuer chain",
        ours="an error that names it",
        reason="no trust anchor is lost silently, and no private key stays among certificates",
        seen=REFUSED,
    ),
    Difference(
        id="issuer-must-be-a-ca",
        dapr="an issuer without CA:TRUE or keyCertSign may be accepted",
        ours="rejected",
        reason="no client can verify its certificates",
        seen=REFUSED,
    ),
    Difference(
        id="path-length",
        dapr="an issuer that exceeds the root's path length is accepted",
        ours="rejected",
        reason="no client could verify a certificate",
        seen=REFUSED,
    ),
    Difference(
        id="rsa-1024",
        dapr="an RSA issuer of 1024 bits is accepted",
        ours="rejected",
        reason="too short for current TLS libraries, such as OpenSSL",
        seen=REFUSED,
    ),
    Difference(
        id="x25519-key",
        dapr="an X25519 key ends the process with a panic",
        ours="an error that names the supported kinds",
        reason="the error names the cause",
        seen={"status": ("exit code 2", "exit code 1"), "text": ("", ".+")},
    ),
    Difference(
        id="generated-keys",
        dapr="generated keys are Ed25519",
        ours="P-256, or the kind that `--ca-key-type` names",
        reason="every TLS library and HSM knows P-256",
        seen={".*: (signature algorithm|public key)": (".+", ".+")},
    ),
    Difference(
        id="generated-subjects",
        dapr="the subject of a generated root is `O=<trust domain>` and the same in each generation",
        ours="root and issuer have a common name, too: `root` or `issuer` and the first digits of the key identifier",
        reason="OpenSSL fails if two trust anchors have the same subject",
        seen={".*: (subject|issuer)": (".+", ".+0603550403.+")},
    ),
    Difference(
        id="generated-key-identifiers",
        dapr="the generated issuer has no authority key identifier, which strict verifiers reject",
        ours="root and issuer carry both key identifiers",
        reason="RFC 5280, section 4.2.1.1",
        seen={".*: (extensions|extension 2\\.5\\.29\\.35)": (".*", ".+")},
    ),
    Difference(
        id="waits-for-validity",
        dapr="ends at start if the issuer or its root is not valid yet",
        ours="waits, not ready; starts when it becomes valid, or when the clock or the credentials are corrected",
        reason="a clock that is behind at boot needs no restart",
        seen={"status": ("exit code 1", "waits"), "text": (".+", r"\(absent\)")},
    ),
    Difference(
        id="name-constraints",
        dapr="an issuer whose name constraints forbid the names of its workloads is accepted",
        ours="rejected",
        reason="no client could verify a certificate",
        seen=REFUSED,
    ),
    Difference(
        id="ec-parameters",
        dapr="a key behind a block of EC PARAMETERS, as `openssl ecparam -genkey` writes it, is rejected",
        ours="read",
        reason="keys made with OpenSSL work unchanged",
        seen=TOLERATED,
    ),
    Difference(
        id="untidy-pem",
        dapr="a certificate without a line end before the next, or behind a byte order mark, is passed over silently",
        ours="read",
        reason="no trust anchor is lost without notice",
        seen={**TOLERATED, "trust anchors": (".+", ".+")},
    ),
)
