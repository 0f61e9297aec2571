"""Builds an example with the real kustomize, from a copy beside which the chart already lies."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.deploy.chart import CHART, ROOT, Manifest

EXAMPLES = ROOT / "deploy" / "examples"
KUBECTL = Path(sys.prefix) / "manifests" / "bin" / "kubectl"


def built(example: str, folder: Path) -> list[Manifest]:
    """The objects that an example becomes. kustomize pulls no chart that is already there."""
    assert KUBECTL.exists(), "kubectl is missing: make .venv/manifests"
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    (asked,) = yaml.safe_load((folder / "kustomize/kustomization.yaml").read_text())["helmCharts"]
    kept = folder / "kustomize" / "charts" / f"{asked['name']}-{asked['version']}" / asked["name"]
    shutil.copytree(CHART, kept, dirs_exist_ok=True)
    helm = folder / "helm"
    helm.write_text(
        f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.deploy.helm_command "$@"\n'
    )
    helm.chmod(0o755)

    command = [str(KUBECTL), "kustomize", "--enable-helm", "--helm-command", str(helm)]
    ran = subprocess.run(
        [*command, folder / example], check=False, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))
