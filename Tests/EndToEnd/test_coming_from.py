"""docs/coming-from.md against the tests: every capability has its row, and every test that it names exists."""

import re

from harness.mount import ROOT

ROWS = [
    *(f"P{n}" for n in range(1, 16)), *(f"V{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13)),
    *(f"C{n}" for n in range(1, 12)), *(f"O{n}" for n in range(1, 7)), *(f"W{n}" for n in range(1, 7)),
]


def test_every_row_is_there_and_its_test_exists():
    lines = (ROOT / "docs/coming-from.md").read_text().splitlines()
    rows = {cells[1].strip(): cells for line in lines if len(cells := line.split("|")) == 6 and re.match(r"\| [PVCOW]\d", line)}
    assert list(rows) == ROWS, set(ROWS) ^ set(rows)
    python = "".join(file.read_text() for file in (ROOT / "Tests").rglob("*.py"))
    swift = "".join(file.read_text() for file in (ROOT / "Tests").rglob("*.swift"))
    for row, cells in rows.items():
        assert cells[2].strip() and cells[3].strip(), row
        tests = re.findall(r"`([^`]+)`", cells[4])
        assert tests, row
        for test in tests:
            # A test that the row's own name is in.
            assert re.search(rf"(?<![A-Za-z0-9]){row}(?![0-9])", test.replace("_", " ")), (row, test)
            assert f"def {test}(" in python or f'"{test}"' in swift, (row, test)
