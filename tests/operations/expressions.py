"""Finds the series that a PromQL expression reads, and the labels of its result."""

import re
from collections.abc import Mapping
from typing import Any

import promql_parser as promql

Labels = Mapping[str, frozenset[str]]
"""The labels of each known series."""


def parse(expression: str) -> promql.Expr:
    """Parse an expression, with an interval in place of Grafana's variable."""
    parsed: promql.Expr = promql.parse(expression.replace("$__rate_interval", "5m"))
    return parsed


def selectors(expression: promql.Expr) -> list[promql.VectorSelector]:
    found: list[promql.VectorSelector] = []

    def visit(each: promql.Expr) -> None:
        if isinstance(each, promql.VectorSelector):
            found.append(each)

    promql.walk(expression, visit)
    return found


def names(expression: promql.Expr) -> set[str]:
    return {selector.name or "" for selector in selectors(expression)}


def labels_of(expression: Any, known: Labels) -> frozenset[str]:
    """The labels that the result can have. Fails if the expression uses an impossible label."""
    match expression:
        case promql.VectorSelector():
            return _selected(expression, known)
        case promql.MatrixSelector():
            return _selected(expression.vector_selector, known)
        case promql.SubqueryExpr() | promql.ParenExpr() | promql.UnaryExpr():
            return labels_of(expression.expr, known)
        case promql.AggregateExpr():
            return _aggregated(expression, known)
        case promql.BinaryExpr():
            return _combined(expression, known)
        case promql.Call():
            return _called(expression, known)
        case _:
            return frozenset()


def _selected(selector: promql.VectorSelector, known: Labels) -> frozenset[str]:
    name = selector.name or ""
    assert name in known, f"{name} is neither measured nor recorded"
    asked = {matcher.name for matcher in selector.matchers.matchers}
    assert asked <= known[name], f"{selector} has not all of {asked}"
    return known[name]


def _aggregated(expression: promql.AggregateExpr, known: Labels) -> frozenset[str]:
    below = labels_of(expression.expr, known)
    if expression.modifier is None:
        return frozenset()
    kept = frozenset(expression.modifier.labels)
    assert expression.modifier.type == promql.AggModifierType.By, expression.prettify()
    assert kept <= below, f"{sorted(kept - below)} is not below {expression.prettify()}"
    return kept


def _combined(expression: promql.BinaryExpr, known: Labels) -> frozenset[str]:
    sides = [labels_of(side, known) for side in (expression.lhs, expression.rhs)]
    matching = expression.modifier.matching if expression.modifier else None
    if matching is not None:
        assert all(set(matching.labels) <= side for side in sides), expression.prettify()
    return sides[0] | sides[1]


def _called(expression: promql.Call, known: Labels) -> frozenset[str]:
    labels = frozenset[str]().union(*(labels_of(each, known) for each in expression.args))
    return labels - {"le"} if expression.func.name == "histogram_quantile" else labels


def chosen_values(selector: promql.VectorSelector) -> dict[str, set[str]]:
    """The literal values that a selector chooses, for each of its labels."""
    return {
        matcher.name: set(matcher.value.split("|"))
        for matcher in selector.matchers.matchers
        if not re.search(r"[$+*]", matcher.value)
    }
