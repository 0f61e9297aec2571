"""The table that a run prints, and the section of a page that it writes."""

from pathlib import Path

from loadtests.bench import page
from loadtests.bench.ratios import rows
from loadtests.bench.table import aligned, markdown
from tests.loadtests.bench.results import WINDOWS, changed, results


def test_a_row_names_ratio_yardstick_target_and_verdict_and_then_the_figures() -> None:
    lines = list(markdown(rows(WINDOWS)))

    assert lines[2] == (
        "| CPU of a turn | SQLite | 0.80 (0.75 … 1.00) | the obvious service's "
        "| ≤ 1 | reached | <sub>4.00 / 4.00 ms</sub> |"
    )
    assert "| the obvious service's turn |" in lines[3]
    assert "| nginx's | ≤ 1.5 | reached |" in lines[4]
    assert "| ≥ 1.2 | reached |" in lines[5]
    assert "| ≤ 60 kB | reached |" in lines[6]


def test_a_missed_target_is_visible() -> None:
    lines = list(markdown(rows(changed("token", 16.0, 16.0, 16.0))))

    assert "| ≤ 1.5 | missed |" in lines[4]


def test_a_terminal_gets_columns() -> None:
    lines = list(aligned(rows(WINDOWS)))

    assert len({line.index("  SQLite  ") for line in lines[1:]}) == 1


def test_a_page_gets_the_table_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    told = tmp_path / "RESULTS.md"
    told.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")

    page.write(results(), told)
    page.write(results(), told)

    text = told.read_text()
    assert text.startswith(f"before\n{page.BEGIN}\n| ")
    assert text.endswith(f"\n{page.END}after\n")
    assert text.count("CPU of a turn") == 1
    assert "old" not in text


def test_the_kept_page_has_the_marks() -> None:
    text = page.PAGE.read_text()

    assert text.count(page.BEGIN) == text.count(page.END) == 1
