"""The wires for clients, read by published clients, and by clients with defects."""

import httpx
import httpx_sse
import pytest

from tests.conformance.exchanges import load
from tests.conformance.replay import Replay, Wire, replaying, wires

Seen = list[list[str]]
KNOWN = load().known


def read(server: Replay, wire: Wire, run: str = "") -> Seen:
    """Read an exchange with httpx-sse, and resume as the specification says."""
    seen: Seen = []
    last = None
    with httpx.Client() as client:
        while not seen or seen[-1][0] != "end":
            headers = {"Idempotency-Key": run} | ({"Last-Event-ID": last} if last else {})
            url = f"{server.url}/{wire.id}/query"
            try:
                with httpx_sse.connect_sse(client, "POST", url, headers=headers) as source:
                    for event in source.iter_sse():
                        last = event.id or last
                        if event.event in KNOWN:
                            seen.append([event.event, event.data])
            except httpx.TransportError:
                pass  # the connection broke, as the exchange wants it
    return seen


def test_a_client_that_follows_the_specification_sees_what_it_should() -> None:
    with replaying() as server:
        seen = {id_: read(server, wire) for id_, wire in server.wires.items()}
        verdicts = {id_: server.verdicts(id_) for id_ in server.wires}

    assert seen == {id_: [list(pair) for pair in wire.seen] for id_, wire in wires().items()}
    assert verdicts == {id_: {"": []} for id_ in seen}


@pytest.mark.parametrize(
    ("exchange", "last_event_ids", "wrong"),
    [
        ("cut-in-a-frame", [None, None], "request 2 has the Last-Event-ID None"),
        ("cut-in-a-frame", [None], "1 requests came, and not 2"),
        ("lost-log", [None, "0123456789abcdef-1"], "request 2 has the Last-Event-ID '0123456789"),
        (
            "nothing-left",
            [None, "0123456789abcdef-1", "0123456789abcdef-1"],
            "request 3 came after everything was read",
        ),
    ],
)
def test_a_client_that_does_not_is_told_so(
    exchange: str, last_event_ids: list[str | None], wrong: str
) -> None:
    with replaying() as server, httpx.Client(base_url=server.url) as client:
        for last in last_event_ids:
            headers = {"Last-Event-ID": last} if last else {}
            with client.stream("GET", f"/{exchange}/query", headers=headers):
                pass  # it leaves at once
        (verdict,) = client.get(f"/{exchange}/verdict").json().values()

    assert wrong in "".join(verdict)


def test_the_index_says_what_a_client_must_see() -> None:
    with replaying() as server:
        index = httpx.get(server.url).json()

    assert [each["url"].split("/")[3] for each in index] == list(wires())
    assert all(each["seen"][-1] == ["end", ""] for each in index)
