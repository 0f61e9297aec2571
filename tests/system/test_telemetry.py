"""Compares promised metrics, dashboards, rules and traces with a running service.

The service has traffic, a Prometheus scrapes it, and a collector receives its spans.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from backend.telemetry import metric_definitions as series
from backend.telemetry import wait_spans
from tests.documents.test_tables import in_full
from tests.operations.boards import BOARDS, HEAT_MAPS, panels
from tests.operations.metrics import MEASURED, metrics
from tests.operations.rules import ALERTS, RECORDED, Rule
from tests.otlp import Span
from tests.system.watching.faults import FAULTS
from tests.system.watching.mixture import CALLER
from tests.system.watching.stage import LLAMA, OLDER, OSS
from tests.system.watching.watch import Seen, asked, watch

# The whole scenario runs once, before the first of these tests.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(watch(tmp_path_factory.mktemp("watched")))


PROMISED = {metric.name: metric for metric in metrics()}
BUCKETS = {
    name: in_full(buckets.strip())
    for name, buckets in re.findall(
        r"^\| `(\w+)` \| histogram \| [\w, ]*\| ([^|]*)\|", MEASURED, re.MULTILINE
    )
}

PODS = ("pair", "single")


def exported(seen: Seen, pod: str) -> dict[str, Metric]:
    """The metrics of a pod under their documented names: those of counters end in `_total`."""
    return _families(seen.expositions[pod])


@cache
def _families(text: str) -> dict[str, Metric]:
    families = text_string_to_metric_families(text)
    return {
        family.name + ("_total" if family.type == "counter" else ""): family for family in families
    }


def own_labels(metric: Metric) -> set[frozenset[str]]:
    return {frozenset(sample.labels) - {"le"} for sample in metric.samples}


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize("name", PROMISED)
def test_a_metric_has_the_type_the_labels_and_the_buckets_that_are_promised(
    seen: Seen, pod: str, name: str
) -> None:
    metric, promised = exported(seen, pod)[name], PROMISED[name]

    assert metric.type == promised.type
    assert metric.documentation
    assert own_labels(metric) == {promised.labels}
    bounds = {float(each.labels["le"]) for each in metric.samples if "le" in each.labels}
    assert bounds - {float("inf")} == {float(bound) for bound in BUCKETS.get(name, ())}


@pytest.mark.parametrize("pod", PODS)
def test_nothing_is_exported_that_is_not_promised(seen: Seen, pod: str) -> None:
    strangers = set(exported(seen, pod)) - set(PROMISED)

    foreign = {name for name in strangers if name.startswith(("process_", "python_"))}
    assert strangers - foreign == set()
    assert "process_cpu_seconds_total" in foreign


def test_a_metric_is_named_for_its_unit() -> None:
    """Names end in `_total` or `_seconds`; other histograms name the thing that they count."""
    for name, promised in PROMISED.items():
        assert name.endswith("_total") is (promised.type == "counter")
        if promised.type == "histogram" and not name.endswith("_seconds"):
            assert name in {
                *("gen_ai_client_token_usage", "lex_turn_rounds", "lex_upstream_tokens_per_second")
            }


@pytest.mark.parametrize("pod", PODS)
def test_labels_have_the_values_that_are_promised(seen: Seen, pod: str) -> None:
    families = exported(seen, pod)

    def values(name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in families[name].samples}

    assert values("lex_turns_total", "outcome") == set(series.OUTCOMES)
    assert values("lex_turns_total", "transport") == set(series.TRANSPORTS)
    assert values("lex_stream_disconnects_total", "window") == set(series.WINDOWS)
    assert values("lex_rate_limited_total", "limit") == set(series.LIMITS)
    assert values("lex_upstream_attempts_total", "outcome") == set(series.ATTEMPT_OUTCOMES)
    assert values("lex_upstream_attempts_total", "gen_ai_request_model") == {LLAMA, OLDER, OSS}
    assert values("lex_tool_calls_total", "outcome") == set(series.TOOL_OUTCOMES)
    assert "make_coffee" not in values("lex_tool_calls_total", "gen_ai_tool_name")
    assert values("gen_ai_client_token_usage", "gen_ai_token_type") == {*series.TOKEN_TYPES}


def total(seen: Seen, name: str, **labels: str) -> float:
    """The sum over both pods."""
    return sum(
        sample.value
        for pod in PODS
        for metric in exported(seen, pod).values()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_every_turn_is_counted_once_as_its_client_saw_it(seen: Seen) -> None:
    counted = {
        (outcome, transport): total(seen, "lex_turns_total", outcome=outcome, transport=transport)
        for outcome in series.OUTCOMES
        for transport in series.TRANSPORTS
    }

    assert +Counter(counted) == seen.told.ended
    turns = sum(seen.told.ended.values())
    assert total(seen, "gen_ai_invoke_agent_duration_seconds_count") == turns
    for window in series.WINDOWS:
        assert total(seen, "lex_stream_disconnects_total", window=window) == 1
    assert total(seen, "lex_rate_limited_total", limit="session") == 1
    assert total(seen, "lex_resumed_streams_total") == 1
    assert total(seen, "lex_upstream_rescued_calls_total", outcome="rescued") == 1
    assert total(seen, "lex_upstream_attempts_total", outcome="upstream_unavailable") == 1
    assert (
        total(
            seen, "lex_upstream_attempts_total", outcome="upstream_busy", gen_ai_request_model=LLAMA
        )
        == 1
    )
    assert total(seen, "lex_heartbeats_total") >= 2


PANELS = [
    pytest.param(asked(target["expr"]), id=f"{board['uid']}: {panel['title']} {target['refId']}")
    for board in BOARDS
    for panel in panels(board)
    for target in panel["targets"]
]


@pytest.mark.parametrize("expression", PANELS)
def test_a_panel_has_something_to_show(seen: Seen, expression: str) -> None:
    assert seen.answers[expression], expression


@pytest.mark.parametrize("name", sorted({rule.name for rule in RECORDED}))
def test_what_is_recorded_has_a_value(seen: Seen, name: str) -> None:
    assert seen.answers[name]


def test_prometheus_can_evaluate_all_rules(seen: Seen) -> None:
    assert seen.broken_rules == []


each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: "-".join(alert.identity))


@each_alert
def test_an_alert_is_about_a_fault_and_sees_it(seen: Seen, alert: Rule) -> None:
    assert seen.alarmed[alert.identity]


OF_TIME = {"LexFirstChunkBurn", "LexEventLoopLag", "LexNoModelReachable"}
"""Alerts that a busy machine may fire without any fault, or whose `for` waits out a moment."""


@pytest.mark.parametrize("alert", [alert for alert in ALERTS if alert.name not in OF_TIME])
def test_an_alert_sees_nothing_before_its_fault(seen: Seen, alert: Rule) -> None:
    assert seen.silent[alert.identity] == []


def test_every_alert_has_its_fault() -> None:
    named = [name for fault in FAULTS for name in fault.alerts]

    assert sorted(named) == sorted({alert.name for alert in ALERTS})


SERVER = {"http.route", "url.path", "url.scheme", "http.response.status_code"}
REQUEST = SERVER | {"http.request.method"}
CALL = {"gen_ai.operation.name", "gen_ai.provider.name"}
WHOLE = {
    *("gen_ai.response.id", "gen_ai.response.model", "gen_ai.response.finish_reasons"),
    *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
    "gen_ai.response.time_to_first_chunk",
}

KINDS = {
    r"(POST|GET|DELETE) /.*": ("server", REQUEST),
    r"HTTP /ws/.*": ("server", SERVER),
    r"invoke_agent lex": (
        "internal",
        CALL
        | {"gen_ai.agent.name", "gen_ai.conversation.id", "lex.turn.id", "lex.outcome"}
        | {"gen_ai.request.model"}
        | {"lex.rounds", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"},
    ),
    r"chat .*": (
        "client",
        CALL
        | {"gen_ai.request.model", "gen_ai.request.stream", "gen_ai.conversation.id"}
        | {"server.address", "server.port", "lex.purpose"},
    ),
    r"wait .*": ("internal", {"lex.wait.model", "lex.wait.reason"}),
    r"execute_tool \w+": (
        "internal",
        {"gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.type"}
        | {"gen_ai.tool.description", "lex.outcome"},
    ),
    r"store [a-z]\w*": ("client", set[str]()),
}
PARENTS = {
    r"invoke_agent lex": r"POST /query",
    r"chat .*": r"invoke_agent lex",
    r"execute_tool .*": r"invoke_agent lex",
    r"wait .*": r"invoke_agent lex",
    r"store finish": r"invoke_agent lex",
    r"store claim": r"POST /query|HTTP /ws/.*",
    r"store .*": r".*",
}
"""The parents that a span may have, by its name. The first match counts."""


def in_order(seen: Seen, *names: str) -> list[Span]:
    found = [span for span in seen.spans if re.fullmatch("|".join(names), span.name)]
    assert found, names
    return found


def test_every_span_is_of_a_promised_kind_and_says_what_is_promised(seen: Seen) -> None:
    assert seen.spans
    for span in seen.spans:
        kinds = [kind for name, kind in KINDS.items() if re.fullmatch(name, span.name)]
        ((kind, attributes),) = kinds or [("unknown", {span.name})]
        assert span.kind == kind, span.name
        assert attributes <= set(span.attributes), span.name
        assert span.resource["service.name"] == "lex"


def test_every_span_hangs_under_what_is_promised(seen: Seen) -> None:
    by_id = {span.id: span for span in seen.spans}
    assert len(by_id) == len(seen.spans)
    for span in seen.spans:
        if span.kind == "server":
            assert (span.trace_id != CALLER[0], span.parent_id) == (True, "")
        elif span.name == "invoke_agent lex" and not span.parent_id:
            ((trace_id, asked_by),) = span.links
            assert by_id[asked_by].name.startswith("HTTP /ws/")
            assert by_id[asked_by].trace_id == trace_id != span.trace_id
        else:
            parent = by_id[span.parent_id]
            promised = next(up for name, up in PARENTS.items() if re.fullmatch(name, span.name))
            assert re.fullmatch(promised, parent.name), span.name
            assert span.trace_id == parent.trace_id
            assert parent.begun <= span.begun


def test_every_turn_is_one_trace_with_all_that_it_did(seen: Seen) -> None:
    turns = in_order(seen, "invoke_agent lex")

    assert seen.told.turns <= {turn.attributes["lex.turn.id"] for turn in turns}
    assert len({turn.trace_id for turn in turns} - {CALLER[0]}) == len(turns)
    assert [span.links for span in seen.spans if CALLER in span.links] == [[CALLER]]
    for turn in turns:
        under = [span for span in seen.spans if span.parent_id == turn.id]
        chats = [span for span in under if span.name.startswith("chat ")]
        assert turn.attributes["lex.rounds"] <= max(1, len(chats))
        for span in under:
            assert turn.begun <= span.begun <= span.ended <= turn.ended


def test_of_the_store_only_what_somebody_waited_for_is_traced(seen: Seen) -> None:
    waits = [span for span in seen.spans if span.name.startswith("store ")]
    for span in waits:
        is_slow = span.ended - span.begun >= wait_spans.SLOW_TRANSACTION_SECONDS * 1e9
        assert is_slow or span.is_error


def test_a_call_that_was_whole_says_what_came_of_it_and_another_says_why_not(seen: Seen) -> None:
    for chat in in_order(seen, "chat .*"):
        if "error.type" in chat.attributes:
            assert chat.attributes["error.type"] in series.ATTEMPT_OUTCOMES
            assert chat.is_error is (chat.attributes["error.type"] != "cancelled")
        else:
            assert set(chat.attributes) >= WHOLE
            assert not chat.is_error


def test_as_many_calls_and_tools_are_traced_as_are_counted(seen: Seen) -> None:
    """Only for the mixture, before the turns of the faults begin."""
    traced = {turn.id for turn in mixed(seen)}
    under = Counter(span.name.split()[0] for span in seen.spans if span.parent_id in traced)

    assert len(traced) == len(seen.told.turns) == sum(seen.told.ended.values())
    assert under["chat"] == total(seen, "lex_upstream_attempts_total")
    ran = total(seen, "lex_tool_calls_total")
    cancelled = 1  # its client left while it ran
    assert under["execute_tool"] == ran + cancelled


def mixed(seen: Seen) -> Iterator[Span]:
    for turn in in_order(seen, "invoke_agent lex"):
        if turn.attributes["lex.turn.id"] in seen.told.turns:
            yield turn


def test_outcomes_are_on_turns_and_on_the_streams_that_carried_them(seen: Seen) -> None:
    ended = Counter(turn.attributes["lex.outcome"] for turn in mixed(seen))
    streams = Counter(
        span.attributes.get("lex.stream.outcome") for span in in_order(seen, "POST /query")
    )

    assert ended["disconnected"] == 3
    assert ended["cancelled"] == 1
    assert set(ended) == {"completed", "disconnected", "cancelled"}
    # Refused requests have no stream.
    assert set(streams) == {"read", "disconnected", None}
    assert streams["disconnected"] == 3


@pytest.mark.parametrize("expression", HEAT_MAPS)
def test_each_dot_of_a_pod_with_one_worker_names_a_trace_that_exists(
    seen: Seen, expression: str
) -> None:
    assert seen.exemplars[expression]
    assert seen.exemplars[expression] <= {span.trace_id for span in seen.spans}
