"""docs/environments.md shows the table of environments as it is."""

from pathlib import Path

import pytest

from morl.envs import specs
from morl.envs.table import Row, rows

USERS = "registered by the user"
DOC = Path(__file__).parents[1] / "docs" / "environments.md"


@pytest.mark.filterwarnings("ignore:.*(settotalmass|out of date).*")
def test_the_table_in_the_docs_is_current():
    shown = {}
    for line in DOC.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) == len(Row._fields):
            shown[cells[0]] = Row(*cells)
    for row in rows():
        if specs[row.id].source == USERS:  # another test registered it
            continue
        known = shown[row.id]
        if row.action == "-" or known.action == "-":  # an extra package is missing here or was when the docs were made
            row, known = (r._replace(observation="", action="") for r in (row, known))
        assert known == row
