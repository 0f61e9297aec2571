"""The names are those of the conventions, and none is spelled out elsewhere."""

import re
from pathlib import Path

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

from backend.telemetry import genai_names
from tests.processes import ROOT

UNRELEASED = {"gen_ai.invoke_agent.duration", "gen_ai.execute_tool.duration"}
OPENINFERENCE = {"input.value", "output.value"}


def names(module: object) -> set[str]:
    """The values of the module's constants that look like a name with dots."""
    return {
        value
        for constant, value in vars(module).items()
        if constant.isupper() and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", str(value))
    }


def test_every_name_is_one_of_opentelemetrys() -> None:
    known = [gen_ai_attributes, gen_ai_metrics, error_attributes, server_attributes]
    theirs = set().union(*(names(module) for module in known))

    assert names(genai_names) - theirs == UNRELEASED | OPENINFERENCE


def test_the_schema_is_a_published_one() -> None:
    assert genai_names.SCHEMA_URL in {schema.value for schema in Schemas}


def test_no_other_module_spells_a_name_out() -> None:
    spelled = re.compile(r'["\'](gen_ai[._]|server\.(address|port)|error\.type)')
    texts = {path: path.read_text() for path in Path(ROOT, "backend").rglob("*.py")}

    found = {path.name for path, text in texts.items() if spelled.search(text)}
    assert found == {"genai_names.py"}


def test_a_name_in_prometheus_has_no_dots_and_says_its_unit() -> None:
    assert genai_names.label("gen_ai.request.model") == "gen_ai_request_model"
    duration = genai_names.seconds("gen_ai.client.operation.duration")
    assert duration == "gen_ai_client_operation_duration_seconds"
