"""Settings of the environments."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import Part

if TYPE_CHECKING:
    from sentry_trio.environments.jwt import JwtSettings


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of Kubernetes mode only.

    Attributes:
        kubeconfig: leads to the API server if the environment does not.
        keys_refresh: seconds between two readings of the keys that tokens are verified by here; None if the API server
            reviews each token.
        names_images: certificates name the images of a pod.
    """

    kubeconfig: Path | None
    keys_refresh: float | None
    names_images: bool


class EnvironmentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an environment in either mode.

    Attributes:
        identity: identity of the authority itself.
        configuration: path of the configuration file, or name of the Configuration object.
        needs_configuration: true if the file must exist.
        paths: path of each part; in Kubernetes mode its base name is the part's key in the Secret.
        renewal: parameters of renewals, without lifetimes of workload certificates.
        passphrase_file: its first line encrypts root keys; None if they are not encrypted.
        allowed_cut: fingerprint of the one trust bundle that may cut off clients; empty for none.
        jwt: None if JWTs are off.
        cluster: None in standalone mode.
    """

    identity: SpiffeId
    configuration: str
    needs_configuration: bool
    paths: Mapping[Part, Path]
    renewal: RenewalPolicy
    passphrase_file: Path | None
    allowed_cut: str
    jwt: "JwtSettings | None"
    cluster: ClusterSettings | None
