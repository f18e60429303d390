"""The cell of a record: the same key, or a reason why it cannot be made again."""

from pathlib import Path

import pytest

from mibench.errors import MibenchError, UsageError
from mibench.plugins import load
from mibench.results.record import read_record
from mibench.suite.recorded import cell_of

BOARDS = Path(__file__).parents[2] / "leaderboards"
PATHS = [path for name in ("quick", "attacks") for path in sorted((BOARDS / name / "records").rglob("*.json"))]


@pytest.mark.parametrize("path", PATHS[::100], ids=lambda path: "/".join(path.parts[-3:]))
def test_committed_records_give_cells_of_their_key(path):
    record = read_record(path)
    cell = cell_of(record, load())
    assert cell.key(record.model.digest) == record.key and cell.model_key == record.model.key
    assert (cell.title, path.as_posix().endswith(cell.path)) == (record.title, True)


def test_a_component_that_is_not_installed_is_named():
    record = read_record(PATHS[0])
    other = record.model_copy(update={"labels": record.labels | {"defense": "elsewhere"}})
    with pytest.raises(UsageError, match="unknown defense 'elsewhere'"):
        cell_of(other, load())


def test_labels_that_mean_something_else_by_now_are_refused():
    record = read_record(next(path for path in PATHS if path.name == "pia-s0.json"))
    other = record.model_copy(update={"labels": record.labels | {"attack": "pia:p=2"}})
    with pytest.raises(MibenchError, match="options"):
        cell_of(other, load())
