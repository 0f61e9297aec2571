"""A cluster that only remembers what commands have made, for following a README without a cluster.

It knows the commands and flags that deploy/README.md uses, and refuses all others.
"""

import importlib.util
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

import yaml

import backend
from tests.deploy.chart import ROOT, Manifest, Values, manifests

FLAGS = {
    "kubectl create namespace": {"dry-run", "output"},
    "kubectl create secret": {"namespace", "from-literal", "from-file", "dry-run", "output"},
    "kubectl create secret tls": {"namespace", "cert", "key"},
    "kubectl label": set(),
    "kubectl apply": {"namespace", "filename"},
    "kubectl get": {"namespace", "raw"},
    "kubectl port-forward": {"namespace"},
    "kubectl exec": {"namespace", "stdin"},
    "kubectl scale": {"namespace", "replicas"},
    "kubectl rollout": {"namespace"},
    "kubectl wait": {"namespace", "for", "selector", "timeout"},
    "kubectl logs": {"namespace"},
    "kubectl delete": {"namespace"},
    "helm template": {"namespace", "set", "values"},
    "helm upgrade": {"namespace", "set", "values", "install", "wait", "timeout"},
    "helm rollback": {"namespace", "wait", "timeout"},
    "helm history": {"namespace"},
    "helm test": {"namespace", "logs"},
}
SWITCHES = {"install", "wait", "logs", "stdin"}


class Impossible(Exception):
    """A command uses something that no earlier one has made."""


@dataclass
class Call:
    words: list[str]
    flags: dict[str, list[str]]
    behind: list[str]
    """After `--`."""

    def one(self, name: str) -> str:
        (value,) = self.flags[name]
        return value

    @classmethod
    def of(cls, text: str) -> "Call":
        before, _, behind = text.partition(" -- ")
        parts = shlex.split(before)
        words: list[str] = []
        flags: dict[str, list[str]] = {}
        while parts:
            part = parts.pop(0)
            if not part.startswith("--"):
                words.append(part)
                continue
            name, has_value, value = part.removeprefix("--").partition("=")
            if not has_value and name not in SWITCHES:
                value = parts.pop(0)
            flags.setdefault(name, []).append(value)
        return cls(words, flags, shlex.split(behind))


@dataclass
class Cluster:
    images: set[str] = field(default_factory=set)
    registry: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    secrets: dict[str, set[str]] = field(default_factory=dict)
    """Their keys, by namespace/name."""
    objects: set[str] = field(default_factory=set)
    """As `kind/name`."""
    timeouts: list[tuple[int, list[Manifest]]] = field(default_factory=list)
    """The seconds that each `helm upgrade` waits, and what it installs."""

    def run(self, command: str) -> None:
        """Raises: Impossible."""
        text = re.sub(r"\$\(.*?\)", "output", re.sub(r"\\\n\s*", " ", command))
        if text.startswith(("kubectl ", "helm ")):
            first, _, then = text.partition(" | ")
            call = Call.of(first)
            name = next((n for n in sorted(FLAGS, reverse=True) if _is(call.words, n)), None)
            if name is None or (unknown := call.flags.keys() - FLAGS[name]):
                raise Impossible(f"a command or flag that is not known: {name and unknown}")
            self._check_namespace(call)
            replaces = then == "kubectl apply --filename=-"
            if ("dry-run" in call.flags) != replaces:
                raise Impossible("a dry run makes nothing")
            method = "_".join(["", *call.words[:2]]).replace("-", "_")
            getattr(self, method)(call, replaces=replaces)
        elif text.startswith("docker "):
            self._docker(shlex.split(text))
        elif text == "make image":
            self.images.add(f"lex:{backend.__version__}")
        elif text.startswith("cp "):
            _, source, target = shlex.split(text)
            self._need((ROOT / source).exists(), source)
            self.files.add(target)

    def _need(self, there: bool, name: str) -> None:
        if not there:
            raise Impossible(f"there is no {name}")

    def _check_namespace(self, call: Call) -> None:
        if call.words[:2] in (["helm", "template"], ["kubectl", "get"]):
            return
        for name in call.flags.get("namespace", ()):
            self._need(name in self.namespaces, f"namespace {name}")

    def _docker(self, words: list[str]) -> None:
        match words[1:]:
            case ["tag", source, target]:
                self._need(source in self.images, source)
                self.images.add(target)
            case ["push", name]:
                self._need(name in self.images, name)
                self.registry.add(name)
            case ["run", *_, name]:
                self._need(name in self.images, name)

    def _kubectl_create(self, call: Call, *, replaces: bool) -> None:
        match call.words[2:]:
            case ["namespace", name]:
                self._new(name in self.namespaces, name, replaces=replaces)
                self.namespaces.add(name)
            case ["secret", "generic" | "tls" as kind, name]:
                key = f"{call.one('namespace')}/{name}"
                self._new(key in self.secrets, key, replaces=replaces)
                literals = call.flags.get("from-literal", [])
                keys = {each.partition("=")[0] for each in literals}
                keys |= set(call.flags.get("from-file", []))
                self.secrets[key] = {"tls.crt", "tls.key"} if kind == "tls" else keys
            case words:
                raise Impossible(f"create {words}")

    def _new(self, exists: bool, name: str, *, replaces: bool) -> None:
        if exists and not replaces:
            raise Impossible(f"{name} exists already")

    def _kubectl_label(self, call: Call, **_: bool) -> None:
        kind, name, _label = call.words[2:]
        self._need(kind == "namespace" and name in self.namespaces, name)

    def _kubectl_apply(self, call: Call, **_: bool) -> None:
        for manifest in yaml.safe_load_all((ROOT / call.one("filename")).read_text()):
            self._make([manifest], call.one("namespace"))

    def _kubectl_get(self, call: Call, **_: bool) -> None:
        kinds = {each.partition("/")[0] for each in self.objects} | {"pod"}
        for kind in call.words[2].split(",") if len(call.words) > 2 else ():
            self._need(bool({kind, kind.removesuffix("s")} & kinds), kind)

    def _kubectl_port_forward(self, call: Call, **_: bool) -> None:
        self._named(call.words[2])

    def _kubectl_exec(self, call: Call, **_: bool) -> None:
        self._named(call.words[2])
        if call.behind[:2] == ["python", "-m"]:
            self._module(call.behind[2])

    def _kubectl_scale(self, call: Call, **_: bool) -> None:
        self._named(call.words[2])

    def _kubectl_rollout(self, call: Call, **_: bool) -> None:
        self._named(call.words[3])

    def _kubectl_wait(self, call: Call, **_: bool) -> None:
        if call.words[2] != "pod":
            self._named(call.words[2])

    def _kubectl_logs(self, call: Call, **_: bool) -> None:
        self._named(call.words[2])

    def _kubectl_delete(self, call: Call, **_: bool) -> None:
        for each in call.words[2:]:
            self._named(each)
            self.objects.remove(each)

    def _named(self, name: str) -> None:
        self._need(name in self.objects, name)

    def _module(self, name: str) -> None:
        self._need(importlib.util.find_spec(name) is not None, f"module {name}")

    def _helm_template(self, call: Call, **_: bool) -> None:
        self._rendered(call)

    def _helm_upgrade(self, call: Call, **_: bool) -> None:
        made = self._rendered(call)
        (number, unit) = re.fullmatch(r"(\d+)(m|s)", call.one("timeout")).groups()  # type: ignore[union-attr]  # an error is a fault of the README
        self.timeouts.append((int(number) * (60 if unit == "m" else 1), made))
        self._make(made, call.one("namespace"))

    def _rendered(self, call: Call) -> list[Manifest]:
        release, chart = call.words[2:]
        self._need((ROOT / chart / "Chart.yaml").exists(), chart)
        values: Values = {}
        for file in call.flags.get("values", []):
            self._need(file in self.files, file)
            values = yaml.safe_load((ROOT / chart / "values-prod.yaml").read_text())
        for assignment in call.flags.get("set", []):
            path, _, value = assignment.partition("=")
            _set(values, path.split("."), value.replace("…", "0.2.0"))
        if release != "lex":
            raise Impossible(f"another release: {release}")
        return manifests(values)

    def _helm_test(self, call: Call, **_: bool) -> None:
        self._named(f"release/{call.words[2]}")

    _helm_history = _helm_rollback = _helm_test

    def _make(self, made: list[Manifest], namespace: str) -> None:
        for manifest in made:
            for secret, key in secrets_in(manifest):
                place = f"{namespace}/{secret}"
                self._need(key in self.secrets.get(place, set()), f"{key} in {place}")
            for claim in _found(manifest, "claimName"):
                there = {
                    each["metadata"]["name"] for each in made if each["kind"].endswith("Claim")
                }
                known = claim in there or f"persistentvolumeclaim/{claim}" in self.objects
                self._need(known, claim)
            for image in _found(manifest, "image"):
                repository = image.rpartition(":")[0]
                pushed = {each.rpartition(":")[0] for each in self.registry}
                self._need(repository in pushed, image)
            for command in _found(manifest, "command"):
                if command[:2] == ["python", "-m"]:
                    self._module(command[2])
        self.objects |= {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in made}
        self.objects.add("release/lex")


def secrets_in(manifest: Manifest) -> list[tuple[str, str]]:
    """The Secrets that a manifest needs, each with a key."""
    needed = [(each["name"], each["key"]) for each in _found(manifest, "secretKeyRef")]
    for volume in _found(manifest, "secret"):
        if isinstance(volume, dict) and "secretName" in volume:
            needed += [(volume["secretName"], item["key"]) for item in volume.get("items", [])]
    if manifest["kind"] == "Ingress":
        tls = manifest["spec"].get("tls", [])
        needed += [(each["secretName"], "tls.key") for each in tls]
    return needed


def _found(tree: Any, key: str) -> list[Any]:
    """All values of a key, however deep."""
    if isinstance(tree, list):
        return [value for each in tree for value in _found(each, key)]
    if not isinstance(tree, dict):
        return []
    here = [tree[key]] if key in tree else []
    return here + [value for each in tree.values() for value in _found(each, key)]


def _set(values: Values, path: list[str], value: str) -> None:
    *parents, last = path
    for name in parents:
        values = values.setdefault(name, {})
    values[last] = value


def _is(words: list[str], name: str) -> bool:
    wanted = name.split()
    return words[: len(wanted)] == wanted
