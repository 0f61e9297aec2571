"""The collector's configuration, checked by the fields that its processors have in version 0.130.

Source: the `config.go` of `tailsamplingprocessor`, `memorylimiterprocessor` and `batchprocessor`.
"""

import re
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backend.settings import Settings
from backend.telemetry.kept_traces import IS_SLOW
from tests.processes import ROOT

FOLDER = ROOT / "infrastructure"
FILE = FOLDER / "collector" / "collector.yaml"

Duration = Annotated[str, Field(pattern=r"^\d+(ms|s|m)$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StatusCodes(Strict):
    status_codes: Annotated[list[Literal["OK", "ERROR", "UNSET"]], Field(min_length=1)]


class BooleanAttribute(Strict):
    key: str
    value: bool
    invert_match: bool = False


class Probabilistic(Strict):
    sampling_percentage: Annotated[int | float, Field(ge=0, le=100)]
    hash_salt: str = ""


class Errors(Strict):
    name: str
    type: Literal["status_code"]
    status_code: StatusCodes


class Flagged(Strict):
    name: str
    type: Literal["boolean_attribute"]
    boolean_attribute: BooleanAttribute


class Share(Strict):
    name: str
    type: Literal["probabilistic"]
    probabilistic: Probabilistic


Policy = Annotated[Errors | Flagged | Share, Field(discriminator="type")]


class TailSampling(Strict):
    decision_wait: Duration
    num_traces: Annotated[int, Field(gt=0)]
    expected_new_traces_per_sec: int = 0
    policies: Annotated[list[Policy], Field(min_length=1)]


class MemoryLimiter(Strict):
    check_interval: Duration
    limit_percentage: int
    spike_limit_percentage: int


class Batch(Strict):
    timeout: Duration


class ResourceAttribute(Strict):
    key: str
    value: str
    action: Literal["insert", "update", "upsert", "delete"]


class Resource(Strict):
    attributes: Annotated[list[ResourceAttribute], Field(min_length=1)]


class Processors(Strict):
    resource: Resource
    memory_limiter: MemoryLimiter
    tail_sampling: TailSampling
    batch: Batch


def configuration(**variables: str) -> dict[str, Any]:
    """The file, with its `${env:NAME:-default}` replaced as the collector replaces them."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1], found[2])

    text = re.sub(r"\$\{env:(\w+):-([^}]*)\}", value, FILE.read_text())
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def tail_sampling(**variables: str) -> TailSampling:
    processors = configuration(**variables)["processors"]
    return TypeAdapter(Processors).validate_python(processors).tail_sampling


def test_errors_and_slow_turns_are_kept_and_a_share_of_the_rest() -> None:
    errors, slow, rest = tail_sampling().policies

    assert isinstance(errors, Errors)
    assert errors.status_code.status_codes == ["ERROR"]
    assert isinstance(slow, Flagged)
    assert (slow.boolean_attribute.key, slow.boolean_attribute.value) == (IS_SLOW, True)
    assert isinstance(rest, Share)
    assert 0 < rest.probabilistic.sampling_percentage < 100


def test_a_decision_waits_for_the_longest_turn() -> None:
    longest = Settings.model_fields["turn_timeout_seconds"].default

    assert int(tail_sampling().decision_wait.removesuffix("s")) > longest


def test_on_one_machine_all_traces_are_kept_and_are_there_soon() -> None:
    compose = yaml.safe_load((FOLDER / "compose.observability.yaml").read_text())
    variables = compose["services"]["collector"]["environment"]
    chosen = tail_sampling(**{name: str(value) for name, value in variables.items()})

    assert chosen.decision_wait == "2s"
    *_, rest = chosen.policies
    assert isinstance(rest, Share)
    assert rest.probabilistic.sampling_percentage == 100


def test_a_pipeline_has_only_parts_that_are_defined_and_limits_memory_first() -> None:
    loaded = configuration()
    pipelines = loaded["service"]["pipelines"]

    for kind in ("receivers", "processors", "exporters"):
        used = {part for pipeline in pipelines.values() for part in pipeline[kind]}
        assert used == set(loaded[kind])
    assert pipelines["traces"]["processors"] == ["memory_limiter", "tail_sampling", "batch"]
    assert pipelines["logs"]["processors"] == ["memory_limiter", "resource", "batch"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("policies", 0, "status_code", "status_codes"), ["FAILED"]),
        (("policies", 1, "boolean_attribute", "value"), "true"),
        (("policies", 2, "probabilistic", "percentage"), 10),
        (("decision_wait",), 130),
    ],
)
def test_the_schema_refuses_mistakes(path: tuple[Any, ...], value: object) -> None:
    processors = configuration()["processors"]
    place = processors["tail_sampling"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(ValidationError):
        TypeAdapter(Processors).validate_python(processors)
