"""The programs are those of the release that go.mod pins."""

import re
import subprocess
from pathlib import Path

import pytest

from testkit.dapr import binaries

from .conftest import built

PROGRAMS: list[binaries.Program] = ["daprd", "injector", "operator", "placement", "sentry"]


def test_go_mod_pins_the_release() -> None:
    assert re.search(rf"^\tgithub\.com/dapr/dapr {binaries.VERSION}$", binaries.GO_MOD.read_text(), re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_links_the_release(program: binaries.Program) -> None:
    path = built(program)
    listed = subprocess.run(["go", "version", "-m", str(path)], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"\tgithub\.com/dapr/dapr\t{binaries.VERSION}\t", listed)
    assert Path(path).stat().st_mode & 0o111
