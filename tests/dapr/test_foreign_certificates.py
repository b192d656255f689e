"""Certificates and requests of other tools: the start of Dapr Sentry with them, and its signatures.

sentry-trio's part is the function that verifies a bundle at start, without a process for each: Dapr Sentry starts in
some 30 ms, Python does not. `test_credentials.py` has whole processes of both.
"""

from pathlib import Path

import pytest

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.pem import write_block
from sentry_trio.errors import InvalidBundleError
from testkit.authorities import wall_clock
from testkit.ca.foreign import DATA, corpus
from tests.ca.test_corpus import LENIENT

from .comparing import Fields, Seen, compare, shown_by
from .inputs import NAMESPACE, TRUST_DOMAIN, credentials, good_bundle, request
from .servers import Setting, started
from .servers import both as programs
from .test_csr import Clients, both

__all__ = ["both"]

CERTIFICATES = {name: write_block("CERTIFICATE", der) for name, der in corpus("CERTIFICATE").items()}
REQUESTS = {name: write_block("CERTIFICATE REQUEST", der) for name, der in corpus("CERTIFICATE REQUEST").items()}
ISSUERS = {name: pem for name, pem in CERTIFICATES.items() if ": issuer" in name}
ANCHORS = {name: pem for name, pem in CERTIFICATES.items() if name not in ISSUERS and "(leaf)" not in name}
NAMES = AlternativeNames((), (f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/dapr-sentry",))
ROOT, KEY = ((DATA / file).read_bytes() for file in ("root.crt", "issuer.key"))
SEEN: Seen = {
    "issuer-must-be-a-ca": (
        "openssl: issuer basic constraints false",
        "openssl: issuer key usage without keyCertSign",
    ),
    "name-constraints": ("step: issuer name constraints",),
    "csr-extensions": tuple(LENIENT),
}


def dapr_outcome(dapr_sentry: Path, bundle: StoredBundle, directory: Path) -> Fields:
    setting = Setting(files=credentials(bundle), flags=("--enable-metrics=false",))
    with started(programs(dapr_sentry)[0], setting, directory / "dapr") as process:
        return process.outcome()


def our_outcome(bundle: StoredBundle) -> Fields:
    try:
        verify(bundle, wall_clock(), NAMES)
    except InvalidBundleError as error:
        return {"status": "exit code 1", "text": str(error)}
    return {"status": "serves"}


def bundle_of(name: str) -> StoredBundle:
    """A bundle with the certificate as its issuer, or as an anchor beside a good one."""
    if name in ISSUERS:
        return StoredBundle(anchors=ROOT, chain=ISSUERS[name], key=KEY)
    good = good_bundle()
    return StoredBundle(anchors=good.anchors + ANCHORS[name], chain=good.chain, key=good.key)


@pytest.mark.parametrize("name", [*ANCHORS, *ISSUERS])
def test_certificates(dapr_sentry: Path, tmp_path: Path, name: str) -> None:
    bundle = bundle_of(name)
    dapr, ours = dapr_outcome(dapr_sentry, bundle, tmp_path), our_outcome(bundle)
    compare(dapr, ours, differs=shown_by(SEEN, name), may_differ=("start-error-texts",))


def test_both_verdicts_are_frequent() -> None:
    """Each half of the comparison compares something; that the verdicts are Dapr Sentry's is shown above."""
    serving = [name for name in (*ANCHORS, *ISSUERS) if our_outcome(bundle_of(name))["status"] == "serves"]
    assert 150 < len(serving) < len(ANCHORS) + len(ISSUERS) - 80
    assert 10 < len([name for name in serving if name in ISSUERS]) < len(ISSUERS)


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(both: Clients, name: str) -> None:
    asked = request(certificate_signing_request=REQUESTS[name])
    dapr, ours = (client.ask(asked) for client in both)
    compare(
        {"status": dapr.status, **({"text": dapr.text} if dapr.text else {})},
        {"status": ours.status, **({"text": ours.text} if ours.text else {})},
        differs=shown_by(SEEN, name),
        may_differ=("csr-parse-texts",),
    )
