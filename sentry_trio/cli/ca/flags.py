"""The flags of `sentry-trio ca`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, get_args

import msgspec
from msgspec.structs import replace

from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.renewal import RenewalRequest
from sentry_trio.cli.kubernetes_flags import (
    declare_kubeconfig,
    declare_kubernetes,
    declare_namespace,
    with_defaults,
)
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.go_text import format_duration
from sentry_trio.renewal_status import RenewalScope
from sentry_trio.settings import checks
from sentry_trio.settings.flags import (
    REQUIRED,
    Kind,
    UsageError,
    checked,
    choice_of,
    declare,
    flags_of,
    parse_arguments,
)
from sentry_trio.settings.options import DEFAULT_NAMESPACE, ROOT_KEYS

_DEFAULT_DIRECTORY: Final = Path(".sentry")  # where `make run` keeps it
_REQUESTS: Final = (
    RenewalRequest.START,
    RenewalRequest.CANCEL,
    RenewalRequest.ROLLBACK,
    RenewalRequest.REPLACE_EXPIRED,
    RenewalRequest.DISTRUST,
    RenewalRequest.RENEW_ISSUER,
)
FORCED: Final = frozenset({RenewalRequest.DISTRUST, RenewalRequest.REPLACE_EXPIRED})
"""Requests after which sidecars have to restart."""

_PATHS: Final[Mapping[str, str]] = {
    "preflight": "the directory of the new trust bundle",
    "init": "the directory for the new certificate authority",
    "backup": "the file to write",
    "restore": "the file to read",
}
"""Actions that need a path, with its meaning."""

EXAMPLES: Final = """\
Actions:
  show        phase and generation, the next step and when it is due, sidecars that have to restart
  validate    check the stored trust bundle, or the one in directory PATH
  preflight   check whether the trust bundle in directory PATH may replace the one in use, without doing it
  init        create a certificate authority in directory PATH; with --root-key its root's key is written elsewhere
  rotate      begin, cancel or roll back a renewal: --start, --cancel, --rollback; --root-key renews the issuer with a
              root key that is kept elsewhere; for emergencies --distrust and --replace-expired, after which all
              sidecars must be restarted
  flatten     publish only the issuer's own root and serve without the bridge, so that another program can take over;
              needs --yes if sidecars would be cut off
  rehearse    renew a throw-away certificate authority in memory, with a TLS handshake for every kind of client; with
              --real one that serves on loopback for a minute, while clients call
  backup      write the trust bundle with its keys, and the state of its renewal, to the encrypted file PATH
  restore     restore the parts in backup PATH, unless sidecars would be cut off

Examples:
  show the certificate authority of a cluster, with your kubeconfig
    sentry-trio ca show --kubernetes
  renew the certificate authority of `make run`, in .sentry
    sentry-trio ca rotate --start
  check a new trust bundle before you install it
    sentry-trio ca preflight new-bundle --kubernetes
  write an encrypted backup
    sentry-trio ca backup ca.backup --passphrase-file passphrase.txt

Exit codes: 0 success; 1 failed or rejected; 2 the command line is wrong; 3 success, but something needs attention.
"""

_store = partial(declare, group="Trust bundle")
_rotate = partial(declare, group="rotate")
_new = partial(declare, group="New certificates")
_rehearse = partial(declare, group="rehearse")
_output = partial(declare, group="Output")
_SHORTEST_REHEARSAL: Final = timedelta(seconds=20)


def _rehearsal_ttl(flag: str, ttl: timedelta) -> timedelta:
    if ttl < _SHORTEST_REHEARSAL:
        raise InvalidOptionsError(f"--{flag} must be at least {format_duration(_SHORTEST_REHEARSAL)}")
    return ttl


class CaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `ca`.

    Attributes:
        request: the requested change; None to show the state.
        in_pod: true if a pod's own credentials lead to the Kubernetes API.
    """

    action: str = declare(
        Kind.STRING,
        REQUIRED,
        "action to take",
        choices=("show", "validate", "preflight", "init", "rotate", "flatten", "rehearse", "backup", "restore"),
        metavar="ACTION",
        is_positional=True,
    )
    path: Path | None = declare(
        Kind.STRING, None, "file or directory; see the actions", metavar="PATH", check=checks.path, is_positional=True
    )
    issuer_credentials: Path = _store(
        Kind.STRING, str(_DEFAULT_DIRECTORY), "directory of the credential files", metavar="DIR", check=checks.path
    )
    issuer_ca_filename: str = _store(Kind.STRING, "ca.crt", "file of the trust anchors", metavar="NAME")
    issuer_certificate_filename: str = _store(Kind.STRING, "issuer.crt", "file of the issuer chain", metavar="NAME")
    issuer_key_filename: str = _store(
        Kind.STRING,
        "issuer.key",
        "file of the issuer key; in Kubernetes all three are keys of the Secret",
        metavar="NAME",
    )
    strict: bool = _store(Kind.BOOL, default=False, help="treat the loss of a foreign trust anchor as an error")
    passphrase_file: Path | None = _store(
        Kind.STRING, None, "file whose first line is the passphrase of a backup", metavar="FILE", check=checks.path
    )
    kubernetes: bool = declare_kubernetes("use the Secret dapr-trust-bundle (default in a pod)")
    kubeconfig: Path = declare_kubeconfig()
    namespace: str = declare_namespace()
    start: bool = _rotate(Kind.BOOL, default=False, help="begin a renewal now")
    cancel: bool = _rotate(Kind.BOOL, default=False, help="drop the next issuer, which does not sign yet")
    rollback: bool = _rotate(Kind.BOOL, default=False, help="let the previous issuer sign again, while its key is kept")
    replace_expired: bool = _rotate(
        Kind.BOOL, default=False, help="replace an issuer that has expired; all sidecars must be restarted; needs --yes"
    )
    distrust: bool = _rotate(
        Kind.BOOL,
        default=False,
        help="replace root and issuer at once, after a theft; all sidecars must be restarted; needs --yes",
    )
    root_key: Path | None = _rotate(
        Kind.STRING,
        "",
        "file of the root's private key, kept elsewhere: make another issuer with it; with init: the file to write",
        metavar="FILE",
        check=checks.path_or_none,
    )
    yes: bool = _rotate(Kind.BOOL, default=False, help="confirm an action after which sidecars must be restarted")
    trust_domain: str | None = _new(
        Kind.STRING,
        None,
        "trust domain (default: that of the stored issuer, else cluster.local in Kubernetes and localhost for files)",
        metavar="NAME",
    )
    ca_ttl: timedelta = _new(
        Kind.DURATION, timedelta(days=365), "lifetime of new root and issuer", check=checks.positive
    )
    ca_key_type: KeyType = _new(
        Kind.STRING,
        KeyType.P256.value,
        "kind of new keys",
        **choice_of(KeyType),
    )
    workload_cert_ttl: timedelta = _new(
        Kind.DURATION, timedelta(hours=24), "lifetime of workload certificates", check=checks.positive
    )
    allowed_clock_skew: timedelta = _new(
        Kind.DURATION, timedelta(minutes=15), "tolerated difference between clocks", check=checks.not_negative
    )
    trust_anchor_propagation_grace: timedelta = _new(
        Kind.DURATION,
        timedelta(hours=24),
        "time for which a new trust anchor is published before its issuer signs",
        check=checks.not_negative,
    )
    # The largest number: that of the servers is not known here, and no root that they keep may be removed.
    ca_anchors_kept: int = _new(
        Kind.INT, checks.MOST_ANCHORS_KEPT, "former roots that stay published", check=checks.anchors_kept
    )
    ca_renewal_scope: RenewalScope = _new(
        Kind.STRING,
        "own",
        "certificate authorities to renew: only generated ones (own), or any",
        choices=get_args(RenewalScope),
    )
    ca_root_key: str = _new(
        Kind.STRING,
        "",
        "private key of a new root: discard or keep it (default: as for the current root)",
        choices=("", *ROOT_KEYS),
        metavar="USE",
    )
    ca_root_ttl: timedelta = _new(
        Kind.DURATION, timedelta(days=3650), "lifetime of a new root whose key is kept", check=checks.positive
    )
    ca_root_key_passphrase_file: Path | None = _new(
        Kind.STRING,
        "",
        "file whose first line is the passphrase of root keys",
        metavar="FILE",
        check=checks.path_or_none,
    )
    real: bool = _rehearse(
        Kind.BOOL,
        default=False,
        help="rehearse with a server on loopback, clients that call it throughout, and real time",
    )
    ttl: timedelta = _rehearse(
        Kind.DURATION,
        timedelta(seconds=60),
        "with --real, lifetime of the certificate authority, and so about the duration",
        check=_rehearsal_ttl,
    )
    json: bool = _output(Kind.BOOL, default=False, help="print one JSON document")
    request: RenewalRequest | None
    in_pod: bool

    @property
    def in_cluster(self) -> bool:
        """True if the trust bundle is in a Secret."""
        return self.kubernetes or self.in_pod


OPTIONS: Final = CaOptions


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> CaOptions:
    """Parses and checks the command line.

    Raises:
        InvalidOptionsError: the first mistake.
        HelpRequested: help was requested before any mistake.
    """
    line = parse_arguments(flags_of(CaOptions), arguments)
    values = checked(flags_of(CaOptions), line.values)
    action: str = values["action"]
    values["request"] = _request(action, values)
    if action in _PATHS and values["path"] is None:
        raise UsageError(f"ca {action} needs a path: {_PATHS[action]}")
    if action in {"backup", "restore"} and values["passphrase_file"] is None:
        raise UsageError(f"ca {action} needs --passphrase-file: a backup holds private keys and is encrypted")
    if action == "init" and values["root_key"] is not None and values["ca_root_key_passphrase_file"] is None:
        raise UsageError("ca init --root-key needs --ca-root-key-passphrase-file: the key is encrypted")
    options = CaOptions(**with_defaults(values, line, environ))
    if options.in_cluster:
        return options
    return replace(options, namespace=environ.get("NAMESPACE") or DEFAULT_NAMESPACE)  # as a server of files


def _request(action: str, values: Mapping[str, object]) -> RenewalRequest | None:
    if action == "flatten":
        return RenewalRequest.FLATTEN
    names = [each for each in _REQUESTS if action != "init" or each is not RenewalRequest.RENEW_ISSUER]
    asked = [each for each in names if values[each.value.replace("-", "_")]]
    if asked and action != "rotate":
        raise UsageError(f"--{asked[0].value} belongs to 'ca rotate'")
    if len(asked) > 1:
        raise UsageError(f"--{asked[0].value} and --{asked[1].value} exclude each other")
    if asked and asked[0] in FORCED and not values["yes"]:
        raise UsageError(f"--{asked[0].value} cuts off every sidecar until it is restarted: confirm with --yes")
    return asked[0] if asked else None
