"""The yardsticks are frozen, so that ratios of different days can be compared.

The obvious service and the stand-in for Groq have a fingerprint, and results contain it. Results
with different fingerprints are not compared.
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
