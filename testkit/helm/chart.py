"""helm, built from the module beside this file, and the chart as it renders it."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from testkit.go_modules import GoModule

CHART: Final = Path(__file__).parents[2] / "helm" / "sentry-trio"
NAMESPACE: Final = "dapr-system"
KUBERNETES: Final = "1.32.0"

Values = dict[str, Any]
Manifest = dict[str, Any]


class HelmError(AssertionError):
    """helm failed; the text is its error."""


@cache
def build() -> Path:
    """Builds helm; some two minutes of a processor for the first time, a second later.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    return GoModule(Path(__file__).parent, "helm").fetched().build("helm.sh/helm/v3/cmd/helm")


@dataclass(frozen=True)
class Helm:
    """A helm with settings and caches of its own.

    Attributes:
        binary: the executable.
        home: for its files, and for values.
        kubeconfig: of the cluster it speaks to; None if it only renders.
    """

    binary: Path
    home: Path
    kubeconfig: Path | None = None
    _texts: dict[tuple[str, ...], str] = field(
        default_factory=dict
    )  # by values, version and namespace, as many tests render alike

    def run(self, *arguments: str, values: Values | None = None) -> str:
        """Runs a command, and returns its standard output.

        Raises:
            HelmError: it failed.
        """
        command = [str(self.binary), *arguments]
        if values is not None:
            file = self.home / "values.yaml"
            file.write_text(json.dumps(values))  # PyYAML writes the text 1e3 as a number
            command += ["--values", str(file)]
        environ = {name: value for name, value in os.environ.items() if name in {"PATH", "GOGC"}}
        environ["HOME"] = str(self.home)
        if self.kubeconfig is not None:
            environ["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HelmError(done.stderr)
        return done.stdout

    def notes(self, values: Values) -> str:
        """Renders NOTES for values; helm without a cluster shows them only as part of another template."""
        copy = self.home / "with-notes"
        if not copy.exists():
            shutil.copytree(CHART, copy)
            template = 'kind: ConfigMap\nnotes: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n'
            (copy / "templates" / "notes.yaml").write_text(template)
        where = ("--kube-version", KUBERNETES, "--show-only", "templates/notes.yaml")
        text = self.run("template", "sentry", str(copy), *where, values=values)
        notes: str = yaml.safe_load(text)["notes"]
        return notes

    def rendered(
        self, values: Values | None = None, *, kubernetes: str = KUBERNETES, namespace: str = NAMESPACE
    ) -> "Rendered":
        """Renders the chart with values, for a cluster of that version."""
        where = ("--namespace", namespace, "--kube-version", kubernetes)
        key = (kubernetes, namespace, json.dumps(values or {}))
        if key not in self._texts:
            self._texts[key] = self.run("template", "sentry", str(CHART), *where, values=values or {})
        return Rendered(tuple(each for each in yaml.load_all(self._texts[key], Loader=_Strict) if each))


@dataclass(frozen=True)
class Rendered:
    """The objects of a chart."""

    objects: tuple[Manifest, ...]

    def named(self, kind: str, name: str = "dapr-sentry") -> Manifest:
        """The object of that kind and name; there must be one."""
        (found,) = (each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
        return found

    @property
    def kinds(self) -> set[str]:
        return {each["kind"] for each in self.objects}

    @property
    def pod(self) -> Manifest:
        """The pod template."""
        template: Manifest = self.named("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Manifest:
        (found,) = (each for each in self.pod["spec"]["containers"] if each["name"] == "dapr-sentry")
        assert isinstance(found, dict)
        return found

    @property
    def arguments(self) -> list[str]:
        found: list[str] = self.container["args"]
        return found


class _Strict(yaml.CSafeLoader):
    """Rejects keys that are there twice: the last one would win, unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a key is there twice among {keys}: {node.start_mark}"
        return super().construct_mapping(node, deep)
