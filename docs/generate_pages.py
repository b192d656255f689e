"""Generates pages from the code, or checks that they have not drifted from it.

python docs/generate_pages.py            writes the pages
python docs/generate_pages.py --check    exits 1, with a diff, where a page differs from what would be written
"""

import dataclasses
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from inspect import getdoc, isclass, signature
from itertools import groupby
from pathlib import Path
from textwrap import dedent, fill
from typing import Final

import msgspec

import sentry_trio
from sentry_trio.cli.commands import COMMANDS
from sentry_trio.go_text import format_duration
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.configuration_document import MOST_BYTES, MOST_DURATION, parse_configuration
from sentry_trio.settings.flags import Flag, Kind
from sentry_trio.settings.options import FLAGS

sys.path.insert(0, str(Path(__file__).parents[1]))

from testkit.dapr.differences import AREAS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
CHART = ROOT / "helm" / "sentry-trio"
_WIDTH: Final = 140
_NAMES: Final = {
    "workload_cert_ttl": "workloadCertTTL",
    "allowed_clock_skew": "allowedClockSkew",
    "control_plane_trust_domain": "controlPlaneTrustDomain",
    "jwks": "tokenValidators",
}
_PYTHON_EXAMPLE: Final = """\
import trio, sentry_trio


async def main():
    options = sentry_trio.local_options(["--issuer-credentials=.sentry"])  # listens on 127.0.0.1
    try:
        async with sentry_trio.running(options) as application:
            print("certificates from port", application.grpc_port)
            await application.authority.restart()
    except sentry_trio.SentryError as error:
        raise SystemExit(f"certificate authority failed: {error}")


trio.run(main)
"""
_CHART_COMMANDS: Final = """\
helm install sentry helm/sentry-trio --namespace dapr-system --create-namespace --take-ownership \\
  --set image.registry=registry.example.org/mesh
kubectl --namespace dapr-system rollout status deployment/dapr-sentry
kubectl --namespace dapr-system exec deployment/dapr-sentry --container dapr-sentry -- /sentry status
"""
_EXAMPLE: Final = """\
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: daprsystem
spec:
  mtls:
    workloadCertTTL: 12h
    allowedClockSkew: 10m
"""


def flags_page() -> str:
    """docs/flags.md."""
    return _page(
        "Flags",
        "Flags have one dash or two, and their value after `=` or as the next argument; a switch has one only after "
        "`=`. Flags marked with * are our own. All others are those of Dapr Sentry, with its names, kinds and defaults "
        "(except `--mode`). A flag without effect, such as `--jwt-ttl` without `--jwt-enabled`, is accepted with a "
        "warning.",
        *(part for group, flags in groupby(FLAGS, key=lambda flag: flag.group) for part in _group(group, flags)),
        "Durations are Go's: `90s`, `1h30m`, `250ms`. Lists are separated by commas, and a list flag may be repeated.",
        "## Commands",
        "The first argument names a command, unless it is a flag. `sentry-trio help COMMAND` describes each.",
        _table(("command", "purpose"), (f"| `{each.name}` | {_cell(each.summary)} |" for each in COMMANDS)),
        "## Environment",
        _table(
            ("variable", "meaning"),
            [
                "| `NAMESPACE` | the process's own namespace, part of its SPIFFE ID; `default` if not set |",
                "| `KUBERNETES_SERVICE_HOST` | set in a pod: `--mode auto` is then `kubernetes` |",
                "| `HOME` | the default of `--kubeconfig` is `.kube/config` below it |",
                "| `HOSTNAME` | the instance that log lines name |",
            ],
        ),
        "## Exit codes",
        _table(
            ("code", "meaning"),
            [
                "| 0 | shut down gracefully, or help was requested |",
                "| 1 | did not start, or failed; the last log line has the reason |",
                "| 2 | the command line is wrong: an unknown command or flag, or a value that a flag cannot have |",
            ],
        ),
    )


def _group(title: str, flags: Iterable[Flag]) -> Iterator[str]:
    yield f"## {title}"
    rows = (
        f"| `--{flag.name}`{' *' if flag.is_own else ''} | {_takes(flag)} | {_default(flag)} | {_meaning(flag)} |"
        for flag in flags
    )
    yield _table(("flag", "type", "default", "meaning"), rows)


def _meaning(flag: Flag) -> str:
    choices = f": {', '.join(f'`{choice}`' for choice in flag.choices)}" if flag.choices else ""
    return f"{_cell(flag.help)}{choices}"


def configuration_page() -> str:
    """docs/configuration.md."""
    parse_configuration(_EXAMPLE.encode(), {}, name="the example")
    meanings = dict(re.findall(r"^ {4}(\w+): (.+)$", inspect.getdoc(Configuration) or "", flags=re.MULTILINE))
    rows = (
        f"| `spec.mtls.{_NAMES[field.name]}` | {_shown(field.default)} | {_cell(meanings[field.name])} |"
        for field in msgspec.structs.fields(Configuration)
        if field.name in _NAMES
    )
    return _page(
        "Configuration",
        "The document that `--config` names: a file in standalone mode, a `Configuration` object in the process's own "
        "namespace in Kubernetes mode. These fields are used:",
        _table(("field", "default", "meaning"), rows),
        f"Durations are Go's, and at most {format_duration(MOST_DURATION)}. "
        f"The document has at most {MOST_BYTES:,} bytes. "
        "In a file, `$NAME` and `${NAME}` are replaced by environment variables. Unknown fields below `spec.mtls` "
        "are logged as warnings with the nearest known name. `spec.mtls.enabled` and `spec.mtls.sentryAddress` are "
        "checked and have no effect, as in Dapr Sentry. A bad `spec.secrets` is rejected; other sections are ignored.",
        f"```yaml\n{_EXAMPLE}```",
        "Without `--config` a missing file is not an error, and the defaults apply. An edit takes effect by a "
        "[hot restart](restart-and-shutdown.md). An invalid edit changes nothing.",
    )


def differences_page() -> str:
    """docs/differences.md."""
    parts = []
    for area, entries in AREAS.items():
        rows = (f"| {_cell(each.dapr)} | {_cell(each.ours)} | {_cell(each.reason)} |" for each in entries)
        parts += [f"## {area}", _table(("Dapr Sentry 1.18", "sentry-trio", "reason"), rows)]
    return _page(
        "Differences from Dapr Sentry 1.18",
        "Protocol, flags, files and metric names are Dapr's. The differences below are deliberate. `make test-dapr` "
        "gives the same inputs to Dapr Sentry 1.18.1 and to this program; an unlisted difference fails.",
        *parts,
    )


def python_page() -> str:
    """docs/python-api.md."""
    errors = [cls for name in sentry_trio.__all__ if isclass(cls := getattr(sentry_trio, name)) and _is_error(cls)]
    rows = (
        f"| `{cls.__name__}` | {_cell(_summary(cls))} | `{cls.__base__.__name__}` |"  # type: ignore[union-attr]
        for cls in sorted(errors, key=lambda cls: [each.__name__ for each in reversed(cls.__mro__)])
    )
    authority = sentry_trio.CertificateAuthority
    return _page(
        "Python API",
        "A program on Trio can serve the certificate authority itself, for example in tests. All names below are "
        "attributes of `sentry_trio`, with types; each is imported when it is first used. Other modules are "
        "internal.",
        f"```python\n{_PYTHON_EXAMPLE}```",
        "The directory of `--issuer-credentials` must exist; if it is empty, a trust bundle is generated.",
        "Each server has its own ports: with `--port=0`, `--healthz-port=0` and `--metrics-port=0` the system chooses "
        "free ones, which the attributes of `application` name. [Flags](flags.md) lists all flags.",
        "**Logging** is the caller's. The loggers of the standard library's `logging` are `dapr.sentry` and below it; "
        "values are in the attribute `fields` of a record. `--log-level`, `--log-as-json` and `--log-file` have no "
        "effect here. If logging is not configured, Python writes warnings and errors to standard error.",
        "**Signals** are the caller's, too: leave the block, or cancel it, to stop.",
        "**Errors**: a start error is raised as itself and not in a group, so `except sentry_trio.ListenError:` works. "
        "So is an error of the block. Only several errors at once are raised as an exception group. `serve` raises "
        "groups always, as nurseries do.",
        "## Functions",
        *(_described(getattr(sentry_trio, name), name) for name in ("running", "local_options")),
        *(_described(getattr(sentry_trio, name), name) for name in ("serve", "parse_options")),
        "## Classes",
        _described(sentry_trio.Application, "Application"),
        _described(authority.restart, "CertificateAuthority.restart"),
        _described(authority.stop, "CertificateAuthority.stop"),
        _described(sentry_trio.Options, "Options"),
        "## Exceptions",
        _table(("exception", "meaning", "base class"), rows),
    )


def _is_error(cls: type) -> bool:
    return issubclass(cls, sentry_trio.SentryError)


def _summary(documented: object) -> str:
    """The first line of a docstring."""
    return (getdoc(documented) or "").partition("\n")[0]


def _described(documented: Callable[..., object], name: str) -> str:
    """A heading, the parameters of a function, and its docstring, whose sections become lists."""
    call = "" if isclass(documented) else f"\n\n`{name}({_parameters(documented)})`"
    text = getdoc(documented) or ""
    text = re.sub(r"^(\w+):\n((?:    .*\n?)+)", _section, text, flags=re.MULTILINE)
    return f"### {name}{call}\n\n{text.rstrip()}"


def _parameters(function: Callable[..., object]) -> str:
    """Parameters with their defaults, without types: the docstring and type checkers have those."""
    shown = []
    for each in signature(function).parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        default = "" if each.default is each.empty else f"={each.default if each.default in (None, ()) else '...'}"
        shown.append(f"{'*' if each.kind is each.VAR_POSITIONAL else ''}{each.name}{default}")
    return ", ".join(shown)


def _section(found: re.Match[str]) -> str:
    """A section of a docstring in Google's style as a list."""
    text = dedent(found[2])
    items = re.sub(r"^(\w+): ", r"- `\1`: ", text, flags=re.MULTILINE).replace("\n    ", "\n  ")
    return f"**{found[1]}**\n\n{items}"


def chart_page() -> str:
    """The chart's README, which `helm show readme` shows."""
    rows = (
        f"| `{each.path}`{' *' if each.is_own else ''} | {_cell(each.default)} | {_cell(each.meaning)} |"
        for each in _values()
    )
    return _page(
        "sentry-trio",
        "The certificate authority of the Dapr service mesh, as a drop-in replacement for Dapr Sentry: the same "
        "objects under the same names as in Dapr's chart, and the same values.",
        "Requirements: Kubernetes 1.23 or later (1.30 or later for `trustBundle.protect`), Helm 3.17 or later, and "
        "Dapr, whose Sentry this chart replaces. No image is published: build one with `make image` and push it to a "
        "registry that the cluster can reach.",
        f"```sh\n{_CHART_COMMANDS}```",
        "[In Kubernetes](../../docs/kubernetes.md) describes upgrades, moving from Dapr's chart and back, and "
        "cert-manager. [Alerts](../../docs/alerts.md) describes the alert rules and the dashboard.",
        "## Values",
        "A values file for Dapr's chart can be used as it is: keys below `dapr_sentry` replace the same keys here, and "
        "`global` is the same. Values marked with * are this chart's own. An unknown key is an error; below "
        "`dapr_sentry` and `global` it is ignored.",
        _table(("value", "default", "meaning"), rows),
    )


@dataclasses.dataclass(frozen=True)
class _Value:
    """A value of the chart, or a section of values that has a comment.

    Attributes:
        path: keys, joined by dots.
        default: as code; empty for a section.
        meaning: its comment.
        is_own: True if Dapr's chart does not have it.
    """

    path: str
    default: str
    meaning: str
    is_own: bool


def _values() -> Iterator[_Value]:
    """Reads the values of the chart with their comments: the lines above a key, and the end of its line."""
    above: list[str] = []
    sections: list[_Value] = []  # that contain the current line
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment = re.fullmatch(r" *# (.*)", line)
        if comment:
            above.append(comment[1])
            continue
        found = re.fullmatch(r"( *)([\w.]+):(?: (?!#)(.*?))?(?: # (.*))?", line)
        if found:
            del sections[len(found[1]) // 2 :]
            text = " ".join(filter(None, (*above, found[4])))
            is_own = text.startswith("(own)") or any(section.is_own for section in sections)
            path = ".".join([*(section.path.rpartition(".")[2] for section in sections), found[2]])
            default = f"`{found[3]}`" if found[3] else ""
            value = _Value(path, default, text.removeprefix("(own)").strip(), is_own)
            if not default:
                sections.append(value)
            if default or value.meaning:
                yield value
        above = []


def _page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", *map(_wrapped, filter(None, parts)))) + "\n"


def _wrapped(part: str) -> str:
    """Wraps a paragraph; tables, lists and code, which have several lines, and headings stay as they are."""
    if "\n" in part or part.startswith("#"):
        return part
    return fill(part, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    titles = tuple(head)
    return "\n".join((f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *rows))


def _takes(flag: Flag) -> str:
    return (
        "switch"
        if flag.kind is Kind.BOOL
        else {Kind.STRING: "text", Kind.STRINGS: "list"}.get(flag.kind, flag.kind.word)
    )


def _default(flag: Flag) -> str:
    return _shown(flag.default)


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`" if value or value == 0 else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: Final = {
    "docs/flags.md": flags_page,
    "docs/configuration.md": configuration_page,
    "docs/differences.md": differences_page,
    "docs/python-api.md": python_page,
    "helm/sentry-trio/README.md": chart_page,
}
"""Pages by their path from the top of the repository."""


def main(arguments: list[str]) -> int:
    """Writes or, with --check, compares; returns the exit code."""
    drifted = False
    for name, page in PAGES.items():
        path, fresh = ROOT / name, page()
        if "--check" not in arguments:
            path.write_text(fresh)
            continue
        present = path.read_text() if path.exists() else ""
        difference = difflib.unified_diff(
            present.splitlines(keepends=True), fresh.splitlines(keepends=True), name, "generated"
        )
        drifted |= present != fresh
        sys.stderr.writelines(difference)
    if drifted:
        sys.stderr.write("The pages have drifted from the code: run `python docs/generate_pages.py`.\n")
    return int(drifted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
