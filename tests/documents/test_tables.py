"""The tables of the documents list what the code has."""

import re
import subprocess
import sys
import types
from typing import Any, get_args

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from pydantic import SecretStr

import backend
import backend.telemetry.exposition  # exports the deaths of workers
from backend.api.delivery_metrics import Window
from backend.api.sse import legacy
from backend.domain import errors
from backend.domain.conversation import Outcome, ToolCall
from backend.domain.errors import Refusal, ServiceError
from backend.domain.events import Event, Transport, TurnOutcome
from backend.domain.usage import Purpose
from backend.llm.groq.tool_call_repair import RepairOutcome
from backend.llm.port import FinishReason
from backend.settings import Settings
from backend.telemetry import metric_definitions as series
from backend.tools import TOOLS
from backend.tools.registry import Tool, Toolbox, ToolOutcome
from tests.documents.markdown import DOCUMENTS, rows, section
from tests.fakes import a_context
from tests.processes import ROOT


def defaults() -> dict[str, str]:
    return {
        name.upper(): "required" if field.is_required() else spelled(field.default)
        for name, field in Settings.model_fields.items()
    }


def spelled(value: Any) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    listed = {
        row[0].strip("`"): row[1].strip("`")
        for row in rows(section("docs/configuration.md", "Settings"))
    }

    assert listed == defaults()


def test_the_sample_environment_has_every_setting_with_its_default() -> None:
    sample = (ROOT / "backend" / ".env.sample").read_text()
    listed = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", sample, re.MULTILINE))

    assert listed == {**defaults(), "GROQ_API_KEY": ""}


def test_every_setting_is_used() -> None:
    files = [ROOT / "backend" / "main.py", *(ROOT / "backend" / "app").glob("*.py")]
    source = "".join(file.read_text() for file in files)
    read = set(re.findall(r"settings\.([a-z_]+)", source))

    together = {"model_name", "model_fallbacks", "jwt_algorithms", "session_cookie_secret"}
    assert set(Settings.model_fields) - together <= read
    assert {"models", "signing_algorithms", "session_cookie_secrets"} <= read


@pytest.mark.parametrize(
    ("document", "title"), [("docs/protocol.md", "Events"), ("README.md", "A conversation")]
)
def test_the_documentation_lists_every_event(document: str, title: str) -> None:
    assert [row[0] for row in rows(section(document, title))] == EVENTS


def test_the_documentation_lists_every_field_of_an_outcome() -> None:
    listed = [row[0].strip("`") for row in rows(section("docs/protocol.md", "Outcomes"))]

    assert tuple(listed) == TurnOutcome.__struct_fields__


EVENTS = [f"`{event.__struct_config__.tag}`" for event in get_args(Event)]


def test_the_documentation_says_what_becomes_of_every_event_on_the_older_page() -> None:
    older = DOCUMENTS["docs/legacy-page.md"]

    assert [row[0] for row in rows(older) if row[0] in EVENTS] == EVENTS
    assert f"*{legacy.SORRY}*" in older
    assert f"`{legacy.NOTICE}`" in older


def leaves(error: type[ServiceError]) -> list[type[ServiceError]]:
    below = [leaf for child in error.__subclasses__() for leaf in leaves(child)]
    return [error, *below]


def test_the_documentation_lists_every_code_with_its_status() -> None:
    families = {errors.Refusal, errors.TurnError, errors.UpstreamTimeout}
    leaves_ = {error for error in leaves(ServiceError) if error not in families}
    table = [row for row in rows(section("docs/api.md", "Errors")) if len(row) == 3]
    listed = {code: row[1] for row in table for code in re.findall(r"`([a-z_]+)`", row[0])}

    assert set(listed) == {error.code for error in leaves_}
    for error in leaves_:
        if issubclass(error, Refusal):
            assert listed[error.code].startswith(str(error.status))


OURS = [each for each in vars(series).values() if isinstance(each, Counter | Gauge | Histogram)]


def name_of(metric: Counter | Gauge | Histogram) -> str:
    (family,) = metric.describe()
    return family.name + ("_total" if isinstance(metric, Counter) else "")


DEATHS = "lex_worker_deaths_total"
"""Counted by the arbiter, without the client library."""


def test_the_documentation_lists_every_metric_with_its_type_labels_and_buckets() -> None:
    expected = {
        name_of(metric): (type(metric).__name__.lower(), metric._labelnames) for metric in OURS
    }
    expected[DEATHS] = ("counter", ("reason",))
    table = {row[0].strip("`"): row for row in rows(section("docs/observability.md", "Metrics"))}
    listed = {
        name: (row[1], tuple(label for label in row[2].split(", ") if label))
        for name, row in table.items()
    }

    assert listed == expected
    for metric in OURS:
        assert how_it_is_listed(metric) == in_full(table[name_of(metric)][3])


def how_it_is_listed(metric: Counter | Gauge | Histogram) -> list[str]:
    match metric:
        case Histogram():
            return [f"{bucket:.9g}" for bucket in metric._kwargs["buckets"]]
        case Gauge():
            return [metric._multiprocess_mode]
        case _:
            return []


def in_full(listed: str) -> list[str]:
    """`0.001, 0.01·2ⁿ … 0.04` is 0.001, 0.01, 0.02 and 0.04."""
    found: list[str] = []
    for part in filter(None, listed.split(", ")):
        if progression := re.fullmatch(r"(?:([\d.]+)·)?(\d)ⁿ … ([\d.]+)", part):
            first, factor, last = (float(number or 1) for number in progression.groups())
            terms = (first * factor**n for n in range(30))
            found += [f"{term:.9g}" for term in terms if term <= last * 1.001]
            assert float(found[-1]) == last
        else:
            found.append(part)
    return found


def test_nothing_but_what_the_documentation_lists_is_exported() -> None:
    exported = {name for name in REGISTRY._names_to_collectors if "_created" not in name}
    families = {name_of(metric) for metric in OURS} | {DEATHS}

    strangers = {name for name in exported if not name.startswith(("process_", "python_"))}
    suffixes = r"(_total|_bucket|_count|_sum)$"
    bare = {re.sub(suffixes, "", family) for family in families}
    assert {re.sub(suffixes, "", name) for name in strangers} == bare


AT_THE_START = """
from prometheus_client import REGISTRY
from backend.telemetry import metrics
metrics.prepare_build(version="1", revision="1")
metrics.prepare_drain(limit_seconds=1)
metrics.prepare_model("model")
metrics.prepare_tools(["tool"])
metrics.prepare_refusals(["code"])
for family in REGISTRY.collect():
    for sample in family.samples:
        print(sample.name, *(f"{name}={value}" for name, value in sample.labels.items()))
"""


def test_the_documentation_lists_which_series_appear_with_their_first_event() -> None:
    """In a process of its own, where nothing has happened yet."""
    started = subprocess.run(
        [sys.executable, "-c", AT_THE_START], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen: dict[str, set[str]] = {}
    for line in started.stdout.splitlines():
        name, *labels = line.split(" ")
        seen.setdefault(re.sub(r"_(bucket|count|sum)$", "", name), set()).update(labels)
    missing = {name_of(metric) for metric in OURS} - set(seen)
    partial = {
        name_of(metric)
        for metric in OURS
        for label in {"outcome", "error_type", "purpose"} & set(metric._labelnames)
        if len([each for each in seen[name_of(metric)] if each.startswith(f"{label}=")]) == 1
    }

    _, _, later = section("docs/observability.md", "Series at the start").partition("These appear")
    assert set(re.findall(r"`((?:lex|gen_ai)_\w+)`", later)) == missing | partial


def test_the_labels_of_metrics_are_the_words_of_the_code() -> None:
    families = {errors.UpstreamTimeout}
    codes = {error.code for error in leaves(errors.UpstreamError) if error not in families}

    assert set(series.OUTCOMES) == {outcome.value for outcome in Outcome}
    assert set(series.TOOL_OUTCOMES) == {outcome.value for outcome in ToolOutcome}
    assert set(series.ATTEMPT_OUTCOMES) == {
        "ok",
        "cancelled",
        ServiceError.code,
        *codes,
    }
    assert set(series.REPAIR_OUTCOMES) == set(get_args(RepairOutcome))
    assert set(series.TRANSPORTS) == set(get_args(Transport))
    assert set(series.WINDOWS) == set(get_args(Window))
    assert set(series.PURPOSES) == set(get_args(Purpose))
    assert set(series.FINISH_REASONS) == set(get_args(FinishReason))


def test_the_documentation_lists_every_tool_with_its_arguments() -> None:
    listed = {
        row[0].strip("`"): re.findall(r"`([a-z_]+)`", row[1])
        for row in rows(section("docs/tools.md", "The tools"))
    }

    assert {name: sorted(arguments) for name, arguments in listed.items()} == {
        tool.name: sorted(tool.spec.parameters["properties"]) for tool in TOOLS
    }


async def test_the_tool_that_the_documentation_adds_works() -> None:
    source = re.search(r"```python\n(.*?)```", section("docs/tools.md", "Add a tool"), re.DOTALL)
    assert source
    horn = types.ModuleType("horn")
    exec(compile(source[1], "horn.py", "exec"), horn.__dict__)  # noqa: S102 - it is our own page
    (tool,) = [value for value in vars(horn).values() if isinstance(value, Tool)]
    toolbox = Toolbox([tool], timeout_seconds=1)

    call = ToolCall("1", "sound_horn", '{"car_model": "apex gt"}')
    result = await toolbox.run(call, a_context())

    assert result.output == {"sound": "The Apex GT says honk."}


def test_the_architecture_names_the_owner_of_every_module() -> None:
    listed = {row[0].strip("`") for row in rows(section("ARCHITECTURE.md", "Packages"))}
    package = ROOT / "backend"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in package.glob("*/__init__.py")}

    assert listed == modules | folders


def layers() -> list[list[str]]:
    """As import-linter checks them, from the top, with those that stand side by side."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^layers = \[(.*?)\]", pyproject, re.MULTILINE | re.DOTALL)
    assert found
    return [re.findall(r"[a-z_]+", floor) for floor in re.findall(r'"(.*?)"', found[1])]


def test_the_layers_that_are_checked_are_all_modules() -> None:
    listed = {row[0].strip("`") for row in rows(section("ARCHITECTURE.md", "Packages"))}

    assert {name for floor in layers() for name in floor} == listed


def test_the_layers_that_are_drawn_are_those_that_are_checked() -> None:
    drawing = section("ARCHITECTURE.md", "Who imports whom")
    floors = [line for line in drawing.splitlines() if line.startswith("| ")]

    assert [re.findall(r"[a-z_]+", floor) for floor in floors] == layers()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_is_named_exists(name: str) -> None:
    """By its path from the project, or from `backend`."""
    text = DOCUMENTS[name]
    folders = {path.name for root in (ROOT, ROOT / "backend") for path in root.iterdir()}
    named = set(re.findall(r"`([a-z_]+/[\w./-]*)`", text))
    named = {name for name in named if name.partition("/")[0] in folders - {"web"}}
    named -= {"backend/.env"}  # the reader's own

    missing = {
        name
        for name in named
        if not any((ROOT / folder / name).exists() for folder in ("", "backend"))
    }
    assert missing == set()


def test_the_version_is_one() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()

    assert f'version = "{backend.__version__}"' in pyproject
    assert f"\n## [{backend.__version__}] " in (ROOT / "CHANGELOG.md").read_text()
