"""The rules: proselint's where they fit a technical text, and a few of our own.

Each found faults in the texts of this project and raised no false alarm there. People switch off a
linter that cries wolf.
"""

from proselint.checks import __register__ as proselints
from proselint.registry.checks import Check
from proselint.registry.checks.engine import Fast, RegexOptions
from proselint.registry.checks.types import Existence, ExistenceSimple, PreferredFormsSimple

LEFT_OUT = (
    "restricted",  # allows nothing but the thousand commonest words
    "typography",  # asks for curly quotes and signs of multiplication
    "misc.illogic",  # joins the end of a sentence with the next one
    "weasel_words.very",  # ours says it in earnest
)

CASED = Fast(RegexOptions(case_insensitive=False))

LONGEST_SENTENCE = 40
"""Words. Readers lose the beginning of a longer sentence before they reach its end."""

START = r"(?:\n|[.;:] )"
"""The start of a sentence. A passage begins after a line break."""

VERB = r"(?:is|are|was|were|has|have|does|do|gets|must|may|can|will)"

SUBJECT_CLAUSE = Check(
    check_type=ExistenceSimple(
        # A second verb: "What a client wants." may be the title of a constant.
        START + rf"(?:What|Who) [^?.:\n]*\b{VERB}\b[^?.:\n]*\b{VERB}\b[^?.:\n]*\.(?:\n| )"
    ),
    engine=CASED,
    path="lex.subject_clause",
    message="A clause is the subject: name the one that acts.",
)

VAGUE_SUBJECT = Check(
    check_type=ExistenceSimple(
        START + r"(?:(?:One|Any|The one) (?:that|which|who)|(?:Those|That) (?:that|which|who|of)) "
    ),
    engine=CASED,
    path="lex.vague_subject",
    message="The subject is a pronoun: name the thing.",
)

FRONTED_OF = Check(
    check_type=ExistenceSimple(START + r"Of [^?.\n]*\."),
    engine=CASED,
    path="lex.fronted_of",
    message="The sentence begins with 'Of': begin with its subject.",
)

DOUBLE_NEGATION = Check(
    check_type=Existence(
        items=(
            r"no \w+ (?:\w+ )?(?:that|which) (?:is|are|has|have|was|were|does|do|can) (?:not|no)",
            r"(?:nobody|nothing|none|never) (?:\w+ )?but",
        )
    ),
    path="lex.double_negation",
    message="'{}' negates twice: say what is so.",
)

VAGUE_WORD = Check(
    check_type=Existence(
        items=("whoever", "whosoever", "whichever", "somebody's", "nobody's", "such a", "very")
    ),
    path="lex.vague_word",
    message="'{}' is vague: say which, or leave it out.",
)

WORDING = Check(
    check_type=PreferredFormsSimple(
        items={
            "anew": "again",
            "in vain": "without success",
            "as yet": "yet",
            "is told of": "learns",
        }
    ),
    path="lex.wording",
    message="Write '{}' instead of '{}'.",
)

OURS = (SUBJECT_CLAUSE, VAGUE_SUBJECT, FRONTED_OF, DOUBLE_NEGATION, VAGUE_WORD, WORDING)

RULES: tuple[Check, ...] = (
    *(each for each in proselints if not each.path.startswith(LEFT_OUT)),
    *OURS,
)
