"""The spans of a trace are sent if one of them failed or is slow, whatever the sampler says."""

from collections.abc import Iterator

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import Span, StatusCode

from backend.telemetry import kept_traces
from backend.telemetry.sampling import MOST_SPANS_OF_A_TRACE, KeptTraces, RecordingSampler


class Tracing:
    """The real SDK with our sampler and processor."""

    def __init__(self, sampler: Sampler = ALWAYS_OFF, *, most_spans: int = 100) -> None:
        self.exporter = InMemorySpanExporter()
        self.kept = KeptTraces(SimpleSpanProcessor(self.exporter), most_spans=most_spans)
        provider = TracerProvider(sampler=RecordingSampler(ParentBased(sampler)))
        provider.add_span_processor(self.kept)
        self._tracer = provider.get_tracer("test")
        kept_traces.use(self.kept, slow_seconds=10)

    def begin(self, name: str, parent: Span | None = None) -> Span:
        under = context.Context() if parent is None else trace.set_span_in_context(parent)
        return self._tracer.start_span(name, under, attributes={"name": name})

    @property
    def sent(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    kept_traces.use_none()


def fail(span: Span) -> None:
    span.set_status(StatusCode.ERROR)
    span.end()


def test_a_trace_without_an_error_is_left_to_the_sampler() -> None:
    for sampler, expected in ((ALWAYS_OFF, []), (ALWAYS_ON, ["chat", "request"])):
        tracing = Tracing(sampler)
        request = tracing.begin("request")
        tracing.begin("chat", request).end()
        request.end()

        assert tracing.sent == expected


def test_an_error_sends_all_spans_of_its_trace_before_and_after_it() -> None:
    tracing = Tracing()
    request = tracing.begin("request")
    turn = tracing.begin("turn", request)
    tracing.begin("chat", turn).end()
    fail(tracing.begin("tool", turn))
    tracing.begin("chat again", turn).end()
    turn.end()
    request.end()

    assert tracing.sent == ["chat", "tool", "chat again", "turn", "request"]
    spans = tracing.exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert all(span.context.trace_flags.sampled for span in spans if span.context)
    assert [dict(span.attributes or {}) for span in spans] == [
        {"name": name} for name in tracing.sent
    ]
    assert spans[0].parent is not None
    assert spans[0].parent.span_id == turn.get_span_context().span_id


def test_a_turn_that_outlives_its_request_still_decides() -> None:
    tracing = Tracing()
    request = tracing.begin("request")
    turn = tracing.begin("turn", request)
    request.end()
    fail(turn)

    assert tracing.sent == ["request", "turn"]


def test_a_slow_turn_sends_its_trace() -> None:
    tracing = Tracing()
    for seconds, first in ((9.9, 1.9), (10.0, 1.0), (5.0, 2.0)):
        turn = tracing.begin(f"{seconds} {first}")
        kept_traces.note_first_chunk(turn, first)
        kept_traces.note_end(turn, seconds, error=None)
        turn.end()

    assert tracing.sent == ["10.0 1.0", "5.0 2.0"]
    for span in tracing.exporter.get_finished_spans():
        assert (span.attributes or {})[kept_traces.IS_SLOW] is True


def test_the_span_of_a_refused_turn_is_never_sent() -> None:
    for sampler in (ALWAYS_OFF, ALWAYS_ON):
        tracing = Tracing(sampler)
        request = tracing.begin("request")
        kept_traces.discard(tracing.begin("turn", request))
        fail(request)

        assert tracing.sent == ["request"]


def test_memory_is_bounded_and_the_oldest_trace_gives_way() -> None:
    tracing = Tracing(most_spans=3)
    first, second = tracing.begin("first"), tracing.begin("second")
    for number in range(2):
        tracing.begin(f"of first {number}", first).end()
        tracing.begin(f"of second {number}", second).end()
    fail(second)
    fail(first)

    assert tracing.sent == ["of second 0", "of second 1", "second", "first"]


def test_a_trace_that_lasts_for_days_is_bounded() -> None:
    tracing = Tracing(most_spans=10_000)
    connection = tracing.begin("connection")
    for _ in range(MOST_SPANS_OF_A_TRACE + 50):
        tracing.begin("store", connection).end()
    fail(tracing.begin("broken", connection))

    assert tracing.sent.count("store") == MOST_SPANS_OF_A_TRACE - 1
    assert tracing.sent[-1] == "broken"


def test_nothing_is_left_of_a_trace_that_has_ended() -> None:
    tracing = Tracing()
    for number in range(50):
        request = tracing.begin("request")
        kept_traces.discard(tracing.begin("refused", request))
        if number % 2:
            request.set_status(StatusCode.ERROR)
        request.end()

    assert tracing.kept._traces == {}
    assert tracing.kept._waiting == 0


def test_an_exemplar_names_only_a_trace_that_is_sent() -> None:
    tracing = Tracing()
    turn = tracing.begin("turn")
    token = context.attach(trace.set_span_in_context(turn))
    try:
        assert kept_traces.current_trace_id() is None
        kept_traces.note_first_chunk(turn, 3)
        assert kept_traces.current_trace_id() == f"{turn.get_span_context().trace_id:032x}"
    finally:
        context.detach(token)
