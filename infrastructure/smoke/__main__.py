"""`python -m infrastructure.smoke`, which is `make smoke`.

Exits with 0 if all questions succeed, with 1 if one fails or the service does not start, and with 2
if there is no key.
"""

import sys
from collections.abc import Iterator, Mapping

import httpx

from infrastructure.smoke import questions, table
from infrastructure.smoke.asking import Answer, ask
from infrastructure.smoke.service import given_variables, service

NO_KEY = (
    "lex: GROQ_API_KEY is not set, and make smoke asks the real Groq. Put a key into the "
    "environment or into .env. The questions cost less than a cent."
)

REASONING_MODEL = "openai/gpt-oss-120b"
"""Asked last and separately, with any configured model."""


def main() -> int:
    given = given_variables()
    if not given.get("GROQ_API_KEY", "").strip():
        sys.stderr.write(f"{NO_KEY}\n")
        return 2
    answers: list[Answer] = []
    for answer in _answers(given):
        if not answers:
            print(table.HEAD, flush=True)
        answers.append(answer)
        print(table.line(answer), flush=True)
    for told in table.summary(answers):
        print(told, flush=True)
    return 1 if any(answer.fault for answer in answers) else 0


def _answers(given: Mapping[str, str]) -> Iterator[Answer]:
    with service(given) as client:
        yield from _of_all_kinds(client)
    with service(given, MODEL_NAME=REASONING_MODEL, MODEL_FALLBACKS="none") as client:
        yield ask(client, questions.reasoning())


def _of_all_kinds(client: httpx.Client) -> Iterator[Answer]:
    day = questions.open_day()
    slots: list[str] = []
    for question in questions.questions(day):
        answer = ask(client, question)
        slots += [slot for output in answer.outputs for slot in output.get("slots", ())]
        yield answer
    if slots:
        yield ask(client, questions.booking(day, slots))
    else:
        yield Answer(questions.booking(day, ["?"]), 0, [], "no free slot is known")


if __name__ == "__main__":
    sys.exit(main())
