"""The names of HTTP statuses as in RFC 9110, whatever the version of Python."""

from http import HTTPStatus

_RENAMED = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Python names these so from 3.13 on."""


def phrase_of(status: int) -> str:
    return _RENAMED.get(status) or HTTPStatus(status).phrase
