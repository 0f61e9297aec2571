"""Writes the generated part of RESULTS.md: `make bench KEEP=1`."""

from pathlib import Path

from loadtests.bench.results import Results
from loadtests.bench.table import markdown

PAGE = Path(__file__).parent.parent / "RESULTS.md"

BEGIN = "<!-- From here `make bench KEEP=1` writes. -->\n"
END = "<!-- To here. -->\n"


def write(results: Results, page: Path = PAGE) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{_section(results)}\n{END}{after}")


def _section(results: Results) -> str:
    windows = max(len(row.ratios) for row in results.rows)
    taken = f"Benchmark {results.bench}, {results.form} form, {windows} windows"
    by = f"hash of the yardsticks' code `{results.yardsticks[:12]}`"
    machine = ", ".join(f"{name} {text}" for name, text in results.machine.items())
    told = (f"{taken}, {by}.", results.busy, f"<sub>{machine}</sub>")
    return "\n".join((*markdown(results.rows), *(f"\n{paragraph}" for paragraph in told), ""))
