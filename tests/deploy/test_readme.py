"""deploy/README.md can be followed from top to bottom: nothing is used before it is made."""

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from tests.deploy.chart import ROOT, values_of
from tests.deploy.journey import Cluster, Impossible
from tests.documents.blocks import Command, blocks_of, commands_of

DOCUMENT = "deploy/README.md"
COMMANDS = [
    command
    for block in blocks_of(DOCUMENT)
    if block.kind == "console"
    for command in commands_of(block)
]
START_SECONDS = 180
"""The longest start of a pod for which the README promises that an update is in time."""


def follow(commands: list[Command]) -> tuple[Cluster, list[str]]:
    cluster, problems = Cluster(), []
    for command in commands:
        try:
            cluster.run(command.text)
        except Impossible as reason:
            problems.append(f"{command.place}: {reason}\n$ {command.text}")
    return cluster, problems


def test_every_command_finds_what_it_needs() -> None:
    _, problems = follow(COMMANDS)

    assert problems == []


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("kubectl create namespace lex", "there is no namespace lex"),
        ("docker push", "there is no registry.example.com/lex:"),
        ("docker tag", "there is no registry.example.com/lex"),
        ("secret tls", "there is no tls.key in lex/lex-tls"),
        ("from-literal=REDIS_URL", "there is no DATABASE_URL in lex/lex"),
        ("cp deploy", "there is no prod.yaml"),
        ("deploy/move.yaml", "there is no job/lex-move"),
    ],
)
def test_a_step_that_is_left_out_is_missed(left_out: str, told: str) -> None:
    kept = [command for command in COMMANDS if left_out not in command.text]
    assert len(kept) < len(COMMANDS)

    _, problems = follow(kept)

    assert told in "\n".join(problems)


def test_a_secret_is_not_made_twice() -> None:
    (first,) = [each for each in COMMANDS if each.text.endswith("from-literal=GROQ_API_KEY=…")]

    _, problems = follow([*COMMANDS, first])

    assert "lex/lex exists already" in problems[-1]


def test_an_update_of_any_number_of_pods_is_in_time() -> None:
    """Helm waits until all new pods are ready, and Kubernetes does not wait for drains."""
    cluster, _ = follow(COMMANDS)

    for timeout, made in cluster.timeouts:
        (deployment,) = [each for each in made if each["kind"] == "Deployment"]
        spec = deployment["spec"]
        grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
        if spec["strategy"]["type"] == "Recreate":
            assert grace + START_SECONDS < timeout
        else:
            surge = spec["strategy"]["rollingUpdate"]["maxSurge"]
            for pods in (3, 20, 100):
                assert -(-pods // surge_of(surge, pods)) * START_SECONDS < timeout
        assert spec["progressDeadlineSeconds"] > grace + START_SECONDS
    assert len(cluster.timeouts) > 2


def surge_of(surge: str | int, pods: int) -> int:
    share = str(surge).removesuffix("%")
    return -(-pods * int(share) // 100) if str(surge).endswith("%") else int(surge)


def test_the_job_that_moves_is_valid_and_fits_the_chart() -> None:
    job = yaml.safe_load((ROOT / "deploy/move.yaml").read_text())

    kubernetes_validate.validate(job, "1.33", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith(values_of("values-prod.yaml")["image"]["repository"])
    security = job["spec"]["template"]["spec"]["securityContext"]
    assert security["runAsUser"] == security["fsGroup"] == 10001
