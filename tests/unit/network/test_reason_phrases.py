"""Problem details have the same titles on every Python."""

from http import HTTPStatus

from backend.network.reason_phrases import phrase_of


def test_titles_are_those_of_rfc_9110() -> None:
    renamed = [phrase_of(status) for status in (413, 414, 416, 422)]

    assert renamed == [
        "Content Too Large",
        "URI Too Long",
        "Range Not Satisfiable",
        "Unprocessable Content",
    ]
    assert phrase_of(503) == HTTPStatus.SERVICE_UNAVAILABLE.phrase
