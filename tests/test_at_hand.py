"""What scripts and people get from the command line: JSON, tables, one component, a preview, a record made again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from benches import SMALL

import mibench
from mibench.cli import main
from mibench.errors import one_line
from mibench.results.record import read_record, write_record


def read(answer):
    """The JSON of a command that is done and printed nothing else."""
    code, out, err = answer
    assert code == 0 and err == ""
    return json.loads(out)


@pytest.fixture
def board(tmp_path, exact_suite):
    """A copy of the suite that a test may change."""
    shutil.copytree(exact_suite.folder / "records", tmp_path / "board" / "records")
    shutil.copy(exact_suite.folder / "suite.toml", tmp_path / "board")
    return tmp_path / "board"


def changed(path, **facts):
    """Write another figure or version into a record."""
    raw = json.loads(path.read_text())
    for name, value in facts.items():
        *parents, last = name.split("__")
        part = raw
        for parent in parents:
            part = part[parent]
        part[last] = value
    write_record(path, mibench.Record.model_validate(raw).sealed())


def test_run_as_json_has_the_figures_of_every_cell(cli, exact_suite):
    answer = read(cli("run", exact_suite.folder, "--json"))
    assert (answer["total"], answer["computed"], answer["failed"]) == (3, 0, 0)
    rows = {row["attack"]: row for row in answer["cells"]}
    record = read_record(exact_suite.pia)
    assert rows["pia"]["calibrated_auroc"] == record.attack.calibrated.auroc.value
    assert rows["utility"]["samples"] == 100 and rows["utility"]["calibrated_auroc"] is None
    assert (exact_suite.folder / rows["pia"]["path"]) == exact_suite.pia


def test_quiet_leaves_out_notes(cli, board, in_process):
    shutil.rmtree(board / "records")
    code, out, err = cli("run", board, "--quiet")
    assert code == 0 and "3 now" in out and err == ""
    shutil.rmtree(board / "records")
    assert "computed in this process" in cli("run", board)[2]


def test_a_failure_is_shown_in_quiet(capsys):
    from mibench.cli.progress import ProgressDisplay
    from mibench.jobs.options import Event

    with ProgressDisplay(quiet=True) as display:
        display.on_event(Event("begin", total=2))
        display.on_event(Event("failed", message="on purpose", finished=1, total=2))
    assert "on purpose" in capsys.readouterr().err


def test_dry_run_counts_and_writes_nothing(cli, tmp_path):
    (tmp_path / "suite.toml").write_text(
        f'datasets = ["{SMALL}"]\ndefenses = ["vp", "ve"]\nattacks = ["pia", "lira:mode=offline,shadows=4"]\ncontrols = false\n'
    )
    answer = read(cli("run", tmp_path, "--store", tmp_path / "store", "--dry-run", "--json"))
    assert answer["states"] == {"missing": 6} and answer["trainings"] == 2 * (1 + 4) and answer["seconds"] > 0
    code, out, _ = cli("run", tmp_path, "--store", tmp_path / "store", "--dry-run", "--workers", "2")
    assert code == 0 and "6 missing" in out and "train 10 models" in out
    one = cli(
        "run", "--defense", "vp", "--attack", "pia", "--dataset", SMALL, "--store", tmp_path / "store", "--dry-run"
    )
    assert "train 1 model, about" in one[1]
    assert [path.name for path in tmp_path.iterdir()] == ["suite.toml"]


def test_dry_run_of_what_is_done(cli, exact_suite):
    code, out, _ = cli("run", exact_suite.folder, "--dry-run")
    assert code == 0 and "3 done" in out and "would compute 0 cells and train 0 models;" in out


@pytest.mark.parametrize("which", ["pia", "utility"])
def test_run_of_a_record_makes_the_same_cell(cli, exact_suite, in_process, tmp_path, which):
    path = getattr(exact_suite, which)
    code, out, _ = cli("run", "--record", path, "--store", tmp_path / "new")
    new = read_record(next(tmp_path.rglob(f"{which}-*.json")))
    old = read_record(path)
    assert code == 0 and "same: same key" in out and old.headline() in out
    assert (new.key, new.attack, new.utility) == (old.key, old.attack, old.utility)


def test_run_of_a_record_says_where_figures_differ(cli, board, in_process, tmp_path):
    path = next(board.rglob("pia-*.json"))
    changed(path, attack__calibrated__auroc__value=0.5)
    before = path.read_bytes()
    code, out, err = cli("run", "--record", path, "--store", tmp_path / "new", "--json", "--quiet")
    answer = json.loads(out)
    assert code == 1 and answer["verdict"] == "differs" and err == ""
    assert read_record(Path(answer["record"])).attack.calibrated.auroc.value != 0.5
    assert path.read_bytes() == before


def test_a_record_of_another_version_is_not_made_again(cli, board):
    path = next(board.rglob("pia-*.json"))
    changed(path, cell__attack__version=99)
    for command in (("run", "--record", path), ("verify", path)):
        code, _, err = cli(*command)
        assert code == 1 and "version 99 of attack pia" in err and err.count("\n") == 1


def test_a_record_of_other_code_is_noted(cli, board, in_process, tmp_path):
    path = next(board.rglob("pia-*.json"))
    changed(path, code__attack="class:" + "0" * 64)
    code, _, err = cli("run", "--record", path, "--store", tmp_path / "new")
    assert code == 0 and "the code of attack pia has changed" in err


def test_verify_takes_a_record(cli, board, in_process):
    path = next(board.rglob("pia-*.json"))
    code, out, _ = cli("verify", path)
    assert code == 0 and "same key, same scores" in out and "1 of 1 cells verified" in out
    changed(path, attack__calibrated__auroc__value=0.5)
    assert "differs" in cli("verify", path)[1]
    code, out, _ = cli("verify", board, "--sample", 9, "--json")
    answer = json.loads(out)
    assert code == 1 and (answer["total"], answer["verified"], answer["records"]) == (3, 2, 3)
    assert sorted(cell["verdict"] for cell in answer["cells"]) == ["differs", "same", "same"]
    code, out, _ = cli("verify", path, next(board.rglob("loss-*.json")))
    assert code == 1 and "1 of 2 cells verified" in out
    code, out, _ = cli("verify", board, "--sample", 9, "--quiet")
    assert code == 1 and len(out.splitlines()) == 2 and "pia" in out.splitlines()[0]


def test_status_as_json(cli, board):
    next(board.rglob("loss-*.json")).unlink()
    answer = read(cli("status", board, "--json"))
    assert answer["total"] == 3 and answer["states"] == {"done": 2, "missing": 1}
    cells = {cell["attack"]: cell for cell in answer["cells"]}
    assert cells["loss"]["state"] == "missing" and cells["pia"]["model_kind"] == "exact"
    assert (board / cells["pia"]["path"]).exists() and cells["pia"]["reason"] is None


def test_ls_as_json_is_the_schema_of_the_options(cli):
    answer = read(cli("ls", "--json"))
    assert set(answer) == {"datasets", "defenses", "measures", "attacks"}
    (hold,) = (one for one in answer["defenses"] if one["name"] == "hold")
    assert (hold["options"]["order"]["minimum"], hold["options"]["order"]["default"]) == (1, 2)
    (lira,) = (one for one in answer["attacks"] if one["name"] == "lira")
    assert lira["access"] == "network" and lira["options"]["mode"]["enum"] == ["online", "offline"]
    (wrapper,) = (one for one in answer["attacks"] if one["name"] == "filter")
    assert wrapper["options"]["base"]["type"] == "attack" and wrapper["options"]["base"]["default"] == "secmi"


def test_ls_of_one_component_shows_types_choices_and_ranges(cli):
    code, out, _ = cli("ls", "hold")
    assert code == 0 and "plain | sufficient" in out and "integer, ≥ 1, ≤ 10" in out and "default 2" in out
    assert "defenses" in out and "attacks" not in out.splitlines()
    assert "integer, ≥ 2, ≤ 4096 or none" in cli("ls", "lira")[1]
    assert "list, each number, > 0, ≤ 1" in cli("ls", "pia")[1]


def test_ls_of_names_joined_by_plus_shows_each(cli):
    def shown(text):
        code, out, _ = cli("ls", text, "--json")
        assert code == 0
        return {kind: [one["name"] for one in ones] for kind, ones in json.loads(out).items()}

    assert shown("vp+dropout+augment") == {"defenses": ["vp"], "measures": ["augment", "dropout"]}
    assert shown("loss+averaged") == {"attacks": ["loss", "averaged"]}
    assert shown("averaged") == {"attacks": ["averaged"]}
    code, out, _ = cli("ls", "hold3+dp-sgd:learning_rate=none")
    assert code == 0 and "  hold (" in out and "number, > 0, ≤ 1 or none" in out and "default none" in out
    assert "measures come after a defense: vp+dropout+x" in cli("ls", "dropout+x")[2]
    assert "no dataset, defense, measure or attack 'measure'" in cli("ls", "measure")[2]


def test_ls_of_an_option_that_json_cannot_say(cli, tmp_path):
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        "from collections.abc import Callable\nfrom pydantic import Field\nfrom mibench import Attack, hookimpl\n"
        "class Odd(Attack):\n    'Has an odd option.'\n    name = 'odd'\n    published = 'x'\n"
        "    f: Callable = Field(print, description='a function')\n"
        "@hookimpl\ndef mibench_attacks():\n    return [Odd]\n"
    )
    code, out, _ = cli("ls", "odd", "--plugin", plugin)
    assert code == 0 and "a function" in out
    assert (
        read(cli("ls", "odd", "--plugin", plugin, "--json"))["attacks"][0]["options"]["f"]["description"]
        == "a function"
    )


def test_plugins_as_json(cli, tmp_path):
    (tmp_path / "broken.py").write_text("import nowhere")
    code, out, _ = cli("plugins", "--plugin", tmp_path / "broken.py", "--json")
    plugins = {plugin["name"]: plugin for plugin in json.loads(out)["plugins"]}
    assert code == 1 and "nowhere" in plugins["broken"]["problems"][0]["what"]
    assert "attack pia" in plugins["attacks"]["offers"] and plugins["attacks"]["problems"] == []


def test_export_gives_what_records_gives(cli, exact_suite, tmp_path):
    frame = mibench.records(exact_suite.folder).drop(columns="record")
    target = tmp_path / "table.csv"
    code, out, err = cli("export", exact_suite.folder, "--out", target)
    assert code == 0 and out == "" and "3 rows" in err
    tables = pd.read_csv(target, keep_default_na=False, na_values=[""]), frame
    one, other = (table.astype(object).where(table.notna(), None) for table in tables)
    pd.testing.assert_frame_equal(one, other)


def test_export_as_json_keeps_whole_numbers_whole(exact_suite):
    command = [sys.executable, "-m", "mibench", "export", str(exact_suite.folder), "--format", "json"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(rows) == 3 and {row["samples"] for row in rows} == {100, None}
    assert rows[0].keys() == {*mibench.records(exact_suite.folder).columns} - {"record"}


def test_export_says_what_to_install(cli, exact_suite, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = cli("export", exact_suite.folder, "--format", "parquet")
    assert code == 2 and "pip install 'mibench[parquet]'" in err and err.count("\n") == 1


def test_export_to_parquet(cli, exact_suite, tmp_path):
    pytest.importorskip("pyarrow")
    assert cli("export", exact_suite.folder, "--out", tmp_path / "x.parquet")[0] == 0
    frame = mibench.records(exact_suite.folder).drop(columns="record")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), frame)


def test_parquet_files_of_all_suites_have_the_same_types(cli, exact_suite, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "suite.toml").write_text('datasets = ["digits"]\ndefenses = ["vp"]\nattacks = ["pia"]\n')
    schemas = []
    for folder in (exact_suite.folder, tmp_path):
        assert cli("export", folder, "--out", tmp_path / "x.parquet")[0] == 0
        schemas.append(parquet.read_schema(tmp_path / "x.parquet"))
    assert schemas[0] == schemas[1] and "null" not in map(str, schemas[0].types)


def test_export_without_records_has_the_columns_of_the_empty_frame(board, tmp_path):
    shutil.rmtree(board / "records")
    columns = [*mibench.records(board).columns.drop("record")]
    assert main(["export", str(board), "--out", str(tmp_path / "x.csv")]) == 0
    assert (tmp_path / "x.csv").read_text() == ",".join(columns) + "\n"
    assert main(["export", str(board), "--out", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text()) == []


def test_export_to_a_place_that_cannot_be_written(cli, exact_suite, tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for place in ("file/table.csv", "nowhere/table.csv", "pipe", ""):
        code, _, err = cli("export", exact_suite.folder, "--out", tmp_path / place)
        assert code == 2 and "--out" in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


CANNOT_BE_READ = [
    ("export",),
    ("leaderboard", "--check"),
    ("run",),
    ("run", "--dry-run"),
    ("status",),
    ("status", "--json"),
    ("verify",),
]


def test_a_record_that_cannot_be_read_is_one_sentence_everywhere(cli, board):
    path = next(board.rglob("pia-*.json"))
    path.write_text(path.read_text()[:-9])
    with pytest.raises(mibench.MibenchError, match="is not a valid record: it is no JSON") as raised:
        mibench.records(board)
    for command, *flags in CANNOT_BE_READ:
        code, _, err = cli(command, board, *flags)
        assert (code, err) == (1, f"mibench: {one_line(raised.value)}\n"), command
    assert "1 broken, 2 done" in cli("status", board)[1]
    next(board.rglob("loss-*.json")).write_text("")
    for command in (("export", board), ("status", board)):
        assert "2 such files; `mibench validate` names all" in cli(*command)[2]
