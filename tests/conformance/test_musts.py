"""The specification and the suite have the same MUSTs."""

import re
from collections import Counter

from tests.conformance.exchanges import Suite
from tests.conformance.replay import wires
from tests.documents.markdown import DOCUMENTS, rows

MUSTS = re.findall(r"^\| ([A-Z]\d+) \|", DOCUMENTS["docs/protocol.md"], re.MULTILINE)


def test_each_must_has_an_id_of_its_own() -> None:
    assert [id_ for id_, count in Counter(MUSTS).items() if count > 1] == []


def test_every_must_is_shown_by_an_exchange(suite: Suite) -> None:
    of_clients = {must for wire in wires().values() for must in wire.shows}

    assert suite.musts | of_clients == set(MUSTS)
    assert not suite.musts & of_clients


def test_each_exchange_has_an_id_of_its_own(suite: Suite) -> None:
    ids = [exchange.id for exchange in suite.exchanges]

    assert len(ids) == len(set(ids))


def test_every_stimulus_is_explained(suite: Suite) -> None:
    used = {stimulus for exchange in suite.exchanges for stimulus in exchange.stimuli}
    table = rows(DOCUMENTS["tests/conformance/README.md"])
    listed = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}

    assert used <= listed
