"""The dashboards are valid for Grafana and helpful for an operator."""

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.dashboards.files import FOLDER, files
from tests.operations.boards import BOARDS, PATHS, expressions, panels
from tests.operations.expressions import chosen_values, labels_of, parse, selectors
from tests.operations.metrics import VALUES
from tests.operations.rules import KNOWN

Json = dict[str, Any]

each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}


def test_the_files_are_what_the_source_says() -> None:
    kept = {path: path.read_text() for path in [*PATHS, FOLDER / "PANELS.md"]}

    assert kept == files(), "make dashboards"


def test_there_is_a_dashboard_for_each_side() -> None:
    assert {board["uid"] for board in BOARDS} == {
        *("lex-overview", "lex-upstream", "lex-tools", "lex-runtime", "lex-limits", "lex-costs")
    }


@each_board
def test_grafanas_own_model_knows_all_of_it(board: Json) -> None:
    plugins.register_default_plugins()

    known = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))

    assert_within(board, known)


def assert_within(part: Any, whole: Any) -> None:
    """Check that the model kept every part: it adds defaults, and drops unknown fields."""
    match part:
        case dict():
            for key, value in part.items():
                assert_within(value, whole[key])
        case list():
            assert len(part) == len(whole)
            for one, other in zip(part, whole, strict=True):
                assert_within(one, other)
        case _:
            assert part == whole


@each_board
def test_panels_lie_side_by_side_and_fill_their_lines(board: Json) -> None:
    cells = [cell for panel in board["panels"] for cell in covered(panel["gridPos"])]
    height = max(y for _, y in cells) + 1

    assert sorted(cells) == [(x, y) for x in range(24) for y in range(height)]


def covered(place: Json) -> list[tuple[int, int]]:
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


@each_board
def test_panels_have_ids_of_their_own(board: Json) -> None:
    ids = [panel["id"] for panel in board["panels"]]

    assert len(set(ids)) == len(ids)


@each_board
def test_a_panel_asks_a_question_once_in_a_unit_and_reads_the_chosen_source(board: Json) -> None:
    titles = [panel["title"] for panel in panels(board)]

    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert "?" in panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == PROMETHEUS, panel["title"]
        assert unit(panel), panel["title"]


def unit(panel: Json) -> object:
    match panel["type"]:
        case "heatmap":
            return panel["options"]["yAxis"]["unit"]
        case "state-timeline":
            return panel["fieldConfig"]["defaults"]["mappings"]
        case _:
            return panel["fieldConfig"]["defaults"]["unit"]


@each_board
def test_expressions_read_what_is_measured_or_recorded(board: Json) -> None:
    for each in expressions(board):
        labels_of(parse(each), KNOWN)
        for selector in selectors(parse(each)):
            for label, values in chosen_values(selector).items():
                possible = VALUES.get((selector.name or "", label))
                assert possible is None or values <= possible, each


@each_board
def test_versions_drains_and_alerts_are_marked_on_every_board(board: Json) -> None:
    marks = {mark["name"]: mark for mark in board["annotations"]["list"]}

    assert set(marks) == {"Versions", "Drains", "Alerts"}
    for mark in marks.values():
        assert mark["enable"]
        assert mark["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        labels_of(parse(mark["expr"]), KNOWN)
        assert 'namespace=~"$namespace", job=~"$job"' in mark["expr"]


@each_board
def test_expressions_are_about_the_chosen_lex(board: Json) -> None:
    for each in expressions(board):
        for selector in selectors(parse(each)):
            assert 'namespace=~"$namespace",job=~"$job"' in str(selector), each


@each_board
def test_legends_name_labels_that_series_have(board: Json) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            assert named <= labels_of(parse(target["expr"]), KNOWN), panel["title"]


@each_board
def test_variables_that_are_used_exist(board: Json) -> None:
    defined = {variable["name"] for variable in board["templating"]["list"]}
    text = json.dumps(board)
    used = set(re.findall(r"\$(\w+)", text)) | set(re.findall(r"\${(\w+)", text))

    assert {name for name in used if not name.startswith("__")} <= defined
    assert {name for name in used if name.startswith("__")} <= {
        *("__rate_interval", "__url_time_range", "__from", "__to")
    }


@each_board
def test_a_link_to_traces_holds_a_query_for_the_chosen_tempo(board: Json) -> None:
    for link in links(board):
        if "/explore" in link:
            panes = json.loads(unquote(link).split("panes=")[1])
            (asked,) = panes["lex"]["queries"]
            assert asked["datasource"] == {"type": "tempo", "uid": "${tempo}"}
            assert re.fullmatch(r"{ .+ }", asked["query"])


@each_board
def test_a_link_to_a_dashboard_leads_to_one(board: Json) -> None:
    for link in links(board):
        if found := re.match(r"/d/([\w-]+)\?", link):
            assert found[1] in {board["uid"] for board in BOARDS}


def links(board: Json) -> list[str]:
    return [link["url"] for panel in panels(board) for link in panel.get("links", [])]


@pytest.mark.parametrize("uid", ["lex-overview", "lex-upstream", "lex-tools"])
def test_single_observations_lead_to_their_traces(uid: str) -> None:
    (board,) = (board for board in BOARDS if board["uid"] == uid)
    maps = [panel for panel in panels(board) if panel["type"] == "heatmap"]

    assert maps
    for panel in maps:
        assert [target["exemplar"] for target in panel["targets"]] == [True]
        (expression,) = (target["expr"] for target in panel["targets"])
        assert ":" not in expression.split("{")[0], "what is recorded has no exemplars"
