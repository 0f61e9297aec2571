"""The images that system tests run: ours, and those of the services around them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.docker_engine import BASE, DockerEngine
from tests.processes import ROOT

REVISION = "0123456789ab"
PARTS = Path(__file__).parent / "parts"


@dataclass(frozen=True)
class Images:
    lex: str
    standin: str


def build_images(engine: DockerEngine) -> Images:
    """Build our Dockerfiles under the image names in the compose files."""
    images = Images(lex=_named("compose.yaml", "lex"), standin=_named("compose.yaml", "standin"))
    base = {"BASE_IMAGE": BASE}
    engine.build("deploy/docker/Dockerfile", images.lex, {**base, "REVISION": REVISION})
    engine.build("infrastructure/groq_standin/Dockerfile", images.standin, base)
    return images


def build_load(engine: DockerEngine) -> None:
    engine.build(
        "loadtests/Dockerfile", _named("compose.load.yaml", "locust"), {"BASE_IMAGE": BASE}
    )


def build_parts(engine: DockerEngine) -> None:
    engine.build("Dockerfile", "parts:local", {"BASE_IMAGE": BASE}, context=PARTS)
    engine.docker("tag", "parts:local", _named("compose.yaml", "nginx"))
    engine.docker("tag", "parts:local", _named("compose.storage.yaml", "redis"))
    engine.docker("tag", "parts:local", _named("compose.storage.yaml", "postgres"))


def _named(file: str, service: str) -> str:
    services: dict[str, Any] = yaml.safe_load((ROOT / "infrastructure" / file).read_text())
    return str(services["services"][service]["image"])
