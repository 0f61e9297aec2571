"""The table that `make smoke` prints."""

from collections.abc import Iterator, Sequence

from infrastructure.smoke.asking import Answer

_FORM = "{:<12} {:<28} {:<30} {:>6} {:>6} {:>6} {:>7} {:>8}  {}"

HEAD = _FORM.format("kind", "model", "tools", "rounds", "in", "out", "seconds", "USD", "")


def line(answer: Answer) -> str:
    given, said = answer.tokens
    cost = answer.cost_usd
    return _FORM.format(
        answer.question.kind,
        answer.model or "-",
        ", ".join(answer.tools) or "-",
        answer.outcome.get("rounds", 0),
        given,
        said,
        f"{answer.seconds:.1f}",
        "?" if cost is None else f"{cost:.5f}",
        answer.fault or "ok",
    )


def summary(answers: Sequence[Answer]) -> Iterator[str]:
    given, said = (sum(answer.tokens[kind] for answer in answers) for kind in (0, 1))
    seconds = sum(answer.seconds for answer in answers)
    costs = [answer.cost_usd for answer in answers]
    known = sum(cost for cost in costs if cost is not None)
    failed = [answer.question.kind for answer in answers if answer.fault]
    yield (
        f"{len(answers)} questions, {given} tokens in and {said} out, in {seconds:.0f} s: "
        f"at most ${known:.4f}; cached input costs half."
    )
    if unpriced := {answer.model for answer in answers if answer.cost_usd is None and answer.model}:
        yield f"Not in this sum, because the price is unknown: {', '.join(sorted(unpriced))}."
    yield f"Failed: {', '.join(failed)}." if failed else "All questions succeeded."
