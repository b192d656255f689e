"""`sentry-trio ca`: shows, checks, renews, backs up and restores a certificate authority.

Commands write to the store as the server does, so a running server handles their changes like any other.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec.structs import replace

from sentry_trio import __version__
from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.parts import Parts, bundle_of, merged
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import digest_of, read_record, restored
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.ca.strictness import Finding
from sentry_trio.cli.ca.backup import read_limited, seal, unseal, write_new
from sentry_trio.cli.ca.checks import findings_against, findings_alone, has_errors, show_findings
from sentry_trio.cli.ca.flags import EXAMPLES, FORCED, OPTIONS, CaOptions, parse
from sentry_trio.cli.ca.overview import policy_of, root_passphrase, show, survey
from sentry_trio.cli.ca.places import Place, open_directory, open_place
from sentry_trio.cli.ca.rehearsal import PhaseResult, rehearse
from sentry_trio.errors import IncompleteBundleError, InvalidBundleError, InvalidOptionsError, Part, SentryError
from sentry_trio.reasons import leaves_of
from sentry_trio.settings import checks
from sentry_trio.stores.passphrase import read_passphrase
from sentry_trio.telemetry.logs import capture_warnings, configure_logging

__all__ = ["EXAMPLES", "OPTIONS", "run"]

_DONE, _FAILED, _ATTENTION = 0, 1, 3
_NEW_ROOTS: Final = FORCED | {RenewalRequest.START}
_RESOLUTION: Final = timedelta(seconds=2)  # of the API server's Date header
_CHANGED: Final = "another writer changed the trust bundle in the meantime; nothing was written: try again"


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs an action; returns the exit code."""
    options = parse(arguments, environ)
    capture_warnings()
    # The server of a rehearsal warns of certificates that expire within minutes.
    level = "error" if options.real else "warning"
    configure_logging(level=level, as_json=False, stream=sys.stderr, instance="ca", version=__version__)
    try:
        return trio.run(_ACTIONS[options.action], options, environ)
    except* SentryError as group:
        error = next(leaves_of(group))
    if isinstance(error, InvalidOptionsError):
        raise error
    print(f"sentry-trio ca {options.action}: {error}", file=sys.stderr)
    return _FAILED


def _now() -> datetime:
    return datetime.now(UTC)


async def _show(options: CaOptions, environ: Mapping[str, str]) -> int:
    async with open_place(options, environ) as place:
        overview = await survey(place, options, _now())
    show(overview, as_json=options.json)
    return _ATTENTION if overview.needs_attention else _DONE


async def _rotate(options: CaOptions, environ: Mapping[str, str]) -> int:
    if options.request is None:
        return await _show(options, environ)
    async with open_place(options, environ) as place:
        stored = await place.read()
        situation = await _situation(place, stored, options)
        if options.request not in FORCED:
            await _check_stored(place, stored, options, situation.now)
        policy = policy_of(options, stored)
        if options.request in _NEW_ROOTS:
            _check_root_key(policy, options, in_secret=options.in_cluster)
        if options.request is RenewalRequest.START:
            policy.check()
        planned = plan(stored, policy, situation, options.request)
        if not planned.changes:
            print(planned.text)
            return _DONE
        if options.request is RenewalRequest.FLATTEN and not options.yes:
            await _check_flat(place, stored, merged(stored, planned.changes), options, situation.now)
        if not await place.write(planned.changes, stored):
            raise SentryError(_CHANGED)
        print(f"{planned.text} ({place.name})")
    return _DONE


async def _situation(place: Place, stored: Parts, options: CaOptions) -> Situation:
    return Situation(
        now=_now(),
        is_published=await place.is_published(stored),
        hold=_clock_difference(place, options),
        managed_by=await place.managed_by(),
        is_cut_accepted=options.yes,
        passphrase=root_passphrase(options),
        offline_root_key=None if options.root_key is None else read_limited(options.root_key),
    )


async def _check_flat(place: Place, stored: Parts, flat: Parts, options: CaOptions, now: datetime) -> None:
    """Shows the clients that a flat trust bundle would cut off.

    Raises:
        SentryError: there are such clients.
    """
    findings = await findings_against(place, stored, bundle_of(flat), options, now)
    if has_errors(findings):
        show_findings(findings, as_json=options.json)
        raise SentryError("nothing was written: confirm with --yes that these clients are cut off")


async def _check_stored(place: Place, stored: Parts, options: CaOptions, now: datetime) -> None:
    """Checks that running processes accept a trust bundle that no step of a renewal has stored.

    Raises:
        InvalidBundleError: it does not verify, for another reason than that it has expired.
        SentryError: it would cut off clients, or is not used for another reason.
    """
    record = read_record(stored.get(Part.RECORD))
    if record is None or record.digest == digest_of(stored):
        return
    read_state(stored, policy_of(options, stored), now, is_published=True)
    findings = await findings_against(place, stored, bundle_of(stored), options, now)
    if has_errors(findings):
        show_findings(findings, as_json=options.json)
        raise SentryError(
            f"nothing was written: running processes reject the stored trust bundle in {place.name} for these reasons; "
            "put the previous content back"
        )


async def _init(options: CaOptions, _environ: Mapping[str, str]) -> int:
    directory, policy = _given(options.path), policy_of(options, {})
    policy = replace(policy, keeps_root_key=policy.keeps_root_key or options.root_key is not None)
    _check_root_key(policy, options, in_secret=False)
    if options.root_key is not None and directory.resolve() in options.root_key.resolve().parents:
        raise InvalidOptionsError(f"--root-key {options.root_key} must not be in {directory}: keep it elsewhere")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SentryError(f"cannot create directory {directory}: {error.strerror}") from error
    place = open_directory(directory, options)
    if await place.read_any():
        raise SentryError(f"{directory} already contains a certificate authority: choose another directory")
    new = new_parts(policy, _now(), root_passphrase(options))
    if options.root_key is not None:
        write_new(options.root_key, new.pop(Part.ROOT_KEY))
        del new[Part.RECORD]  # only commands renew it
    if not await place.write(new, {}):
        raise SentryError(f"{directory} already contains a certificate authority: choose another directory")
    print(f"created a certificate authority in {directory}")
    if options.root_key is not None:
        print(f"wrote the root's private key, encrypted, to {options.root_key}: keep it offline")
    return _DONE


def _check_root_key(policy: RenewalPolicy, options: CaOptions, *, in_secret: bool) -> None:
    """Checks the flags of a root key that is kept.

    Raises:
        InvalidOptionsError: its root would end before its issuer, or it would not be encrypted in a Secret.
    """
    if policy.keeps_root_key:
        checks.root_lifetime(policy.root_lifetime, policy.lifetime)
        if in_secret:
            checks.root_key_in_secret(options.ca_root_key_passphrase_file)


async def _rehearse(options: CaOptions, _environ: Mapping[str, str]) -> int:
    phases: list[PhaseResult] = []

    def report(phase: PhaseResult) -> None:
        phases.append(phase)
        if options.json:
            return
        verdict = "failed" if phase.failures else "ok"
        handshakes = "1 handshake" if phase.handshakes == 1 else f"{phase.handshakes} handshakes"
        print(f"{verdict:<6}  {phase.name}: {handshakes}, {phase.milliseconds:.0f} ms", flush=True)
        for failure in phase.failures:
            print(f"        {failure}")

    if options.real:
        from sentry_trio.cli.ca.real_rehearsal import rehearse_in_real_time

        await rehearse_in_real_time(options, report)
    else:
        for phase in rehearse(options.ca_key_type, _now()):
            report(phase)
    if options.json:
        print(json.dumps({"phases": msgspec.to_builtins(phases)}, indent=2))
    return _FAILED if any(phase.failures for phase in phases) else _DONE


async def _backup(options: CaOptions, environ: Mapping[str, str]) -> int:
    passphrase = read_passphrase(_given(options.passphrase_file))
    async with open_place(options, environ) as place:
        stored = await place.read()
        missing = place.unreadable()
        write_new(_given(options.path), seal(stored, passphrase))
        print(f"wrote {len(stored)} parts of {place.name} to {options.path}, encrypted; JWT keys are not included")
    for reason in sorted(missing):
        print(
            f"sentry-trio ca backup: {options.path} is incomplete: {reason}; make it readable, or move it elsewhere, "
            "and write another backup",
            file=sys.stderr,
        )
    return _ATTENTION if missing else _DONE


async def _validate(options: CaOptions, environ: Mapping[str, str]) -> int:
    async with open_place(options, environ) as place:
        found = place if options.path is None else open_directory(options.path, options)
        findings = findings_alone(bundle_of(await found.read()), options, _now())
    return _conclude(findings, options)


async def _preflight(options: CaOptions, environ: Mapping[str, str]) -> int:
    async with open_place(options, environ) as place:
        new = await open_directory(_given(options.path), options).read()
        findings = await findings_against(place, await place.read(), bundle_of(new), options, _now())
    return _conclude(findings, options)


async def _restore(options: CaOptions, environ: Mapping[str, str]) -> int:
    parts = unseal(read_limited(_given(options.path)), read_passphrase(_given(options.passphrase_file)))
    async with open_place(options, environ) as place:
        stored = await place.read_any()
        if stored and not options.yes:
            findings = await _findings_of_backup(place, bundle_of(parts), options)
            if has_errors(findings):
                return _conclude(findings, options)
        elif stored:
            parts = restored(parts, stored, _now())
        if not await place.write({**dict.fromkeys(stored), **parts}, stored):
            raise SentryError(_CHANGED)
        print(f"restored {len(parts)} parts in {place.name}")
    return _DONE


async def _findings_of_backup(place: Place, backup: StoredBundle, options: CaOptions) -> Sequence[Finding]:
    try:
        return await findings_against(place, await place.read(), backup, options, _now())
    except (IncompleteBundleError, InvalidBundleError) as error:
        raise SentryError(
            "cannot check which clients the backup would cut off, because the stored trust bundle cannot be read: "
            f"{error}; "
            "restore it anyway with --yes"
        ) from error


def _clock_difference(place: Place, options: CaOptions) -> str | None:
    """Returns the reason why no certificate may be dated by this machine's clock, or None."""
    offset = place.clock_offset()
    if offset is None or abs(offset) <= options.allowed_clock_skew + _RESOLUTION:
        return None
    return f"the clocks of this machine and of the API server differ by {abs(offset).total_seconds():.0f} s: set them"


def _conclude(findings: Sequence[Finding], options: CaOptions) -> int:
    show_findings(findings, as_json=options.json)
    if has_errors(findings):
        return _FAILED
    return _ATTENTION if findings else _DONE


def _given(path: Path | None) -> Path:
    assert path is not None  # noqa: S101  # checked by `parse`
    return path


_ACTIONS: Final[Mapping[str, Callable[[CaOptions, Mapping[str, str]], Awaitable[int]]]] = {
    "show": _show,
    "validate": _validate,
    "preflight": _preflight,
    "init": _init,
    "rotate": _rotate,
    "flatten": _rotate,
    "rehearse": _rehearse,
    "backup": _backup,
    "restore": _restore,
}
