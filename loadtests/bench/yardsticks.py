"""The yardsticks are frozen: a ratio of today and one of last year are by the same.

The obvious service and the stand-in for Groq have a fingerprint, which results carry; results with
another fingerprint are by other yardsticks, and are not compared.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def fingerprint(root: Path = ROOT) -> str:
    digest = hashlib.sha256()
    for path in sorted(frozen(root)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def frozen(root: Path) -> Iterator[Path]:
    yield root / "loadtests/bench/obvious.py"
    yield from (root / "infrastructure/groq_standin").rglob("*.py")
