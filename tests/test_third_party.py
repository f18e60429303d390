"""A package of a third party, raised, edited and removed: what the commands say of the records that it made."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from third_party import Package, forget

import mibench
from mibench.results.record import read_record, write_record

CALM, BRISK = "| `calm`", "| `brisk`"


@pytest.fixture
def ran(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package with the records of its suite, which are made once, and of a second attack that the suite does not list."""
    kept = tmp_path_factory.getbasetemp() / "acme-records"
    if not kept.exists():
        code, out, err = package.run("run", package.suite, "--attack", "late")
        assert code == 0 and "6 of 6 cells done, 6 now" in out, err
        shutil.copytree(package.suite / "records", kept)
    shutil.copytree(kept, package.suite / "records", dirs_exist_ok=True)
    return package


@pytest.fixture
def listed(ran: Package) -> Package:
    """The same without the records of the second attack."""
    for path in ran.suite.rglob("late-*.json"):
        path.unlink()
    return ran


def board(package: Package) -> str:
    """The page of the suite, without the spaces that align its columns."""
    assert package.run("leaderboard", package.suite)[0] == 0
    return re.sub(" +", " ", (package.suite / "README.md").read_text())


def figures(page: str, defense: str) -> list[str]:
    """The row of a defense in the main table."""
    return next(line.split(" | ") for line in page.splitlines() if line.startswith(defense))


def check(package: Package) -> str:
    """What --check says of a page that is as it would be written; nothing if all is well."""
    code, out, _ = package.run("leaderboard", package.suite, "--check")
    assert code == (0 if "up to date" in out else 1) and "differs from its records" not in out
    return "" if code == 0 else out


def test_its_methods_are_listed_and_what_they_made_is_sound(listed: Package) -> None:
    assert "acme (acme 1.0): defense calm, defense brisk, attack direct, attack late" in listed.run("plugins")[1]
    page = board(listed)
    assert "4 of 4 cells are done." in page and "could not be checked" not in page
    assert "`direct`[^" not in page and "`brisk`[^" not in page
    assert figures(page, BRISK)[2] != "–" and not check(listed)
    assert listed.run("validate", listed.suite)[:2] == (0, f"{listed.suite}: sound\n")


def test_records_of_an_older_version_are_counted_and_in_no_figure(listed: Package) -> None:
    listed.set_version("direct", 2)
    page = board(listed)
    reason = "attack direct was at version 1 and is now at 2"
    assert f"\n\n**2 records are stale** and in no figure: {reason} (2). Run `mibench run" in page
    assert "2 of 4 cells are done." in page and figures(page, CALM)[1:3] == ["–", "–"] == figures(page, BRISK)[1:3]
    assert f"2 records are stale and in no figure: {reason} (2)" in check(listed)
    code, out, _ = listed.run("validate", listed.suite)
    assert code == 1 and out.count(f"is stale: {reason}; run the suite again") == 2 and "sound" not in out


def test_two_versions_of_an_attack_are_never_compared(listed: Package) -> None:
    """One defense is run again at the new version; with the package or without, the record of the other is stale."""
    listed.set_version("direct", 2)
    suite = listed.suite / "suite.toml"
    both = suite.read_text()
    suite.write_text(both.replace(', "brisk"', ""))
    assert "2 of 2 cells done, 1 now" in listed.run("run", listed.suite)[1]
    suite.write_text(both)
    pages = [board(listed)]
    listed.remove()
    pages.append(board(listed))
    for page in pages:
        assert "**1 record is stale** and in no figure: attack direct was at version 1 and is now at 2 (1)" in page
        assert "3 of 4 cells are done." in page
        assert figures(page, CALM)[1].startswith("**") and figures(page, BRISK)[1:3] == ["–", "–"]
    assert "could not be checked" not in pages[0] and "**3 records could not be checked**" in pages[1]


def test_a_defense_of_an_older_version_leaves_its_row_empty(listed: Package) -> None:
    listed.set_version("brisk", 3)
    page = board(listed)
    assert "**2 records are stale** and in no figure: defense brisk was at version 1 and is now at 3 (2)." in page
    assert figures(page, CALM)[1].startswith("**") and set(figures(page, BRISK)[1:3]) == {"–"}


def test_other_defaults_at_the_same_version_are_stale(listed: Package) -> None:
    listed.edit('    published = "t_min"\n', '    published = "t_min"\n    p: float = 2.0\n')
    reason = "its attack is not the one that its label direct names"
    assert f"**2 records are stale** and in no figure: {reason} (2)." in board(listed)
    assert f"is stale: {reason}" in listed.run("validate", listed.suite)[1]


def test_records_beside_the_list_are_counted_and_marked(ran: Package) -> None:
    page = board(ran)
    assert "4 of 4 cells are done." in page and "\n\n**2 records are unlisted**: attack `late` is shown" in page
    assert (mark := re.search(r"\n\| `late`(\[\^\d+\]) \| ", page)) and "\n| `direct` | " in page
    assert f"{mark[1]}: It is not in the suite's list.\n" in page
    assert "2 records are unlisted: attack late" in check(ran)


def test_a_frame_holds_no_stale_record_unless_asked(ran: Package) -> None:
    forget()
    before = mibench.records(ran.suite)
    assert set(before[before.attack != "late"].current) == {"yes"} and len(before) == 6
    assert set(before[before.attack == "late"].current) == {"unlisted"}
    ran.set_version("direct", 2)
    forget()
    reason = "attack direct was at version 1 and is now at 2"
    with pytest.warns(
        UserWarning, match=rf"suite: 2 records are stale and left out: {reason} \(2\)\. Run `mibench run"
    ):
        frame = mibench.records(ran.suite)
    assert "direct" not in set(frame.attack) and len(frame) == 4
    everything = mibench.records(ran.suite, current_only=False)
    assert len(everything) == 6 and set(everything[everything.attack == "direct"].current) == {"stale"}
    assert list(everything[everything.attack != "direct"].path) == list(frame.path)


def test_a_table_holds_no_stale_record_unless_asked(ran: Package) -> None:
    ran.set_version("direct", 2)
    code, out, err = ran.run("export", ran.suite)
    assert code == 0 and "direct" not in out and len(out.splitlines()) == 1 + 4
    assert "2 records are stale and left out: attack direct was at version 1" in err and "--all" in err
    code, out, err = ran.run("export", ran.suite, "--all", "--format", "json")
    rows = json.loads(out)
    assert (code, err) == (0, "") and [row["current"] for row in rows if row["attack"] == "direct"] == ["stale"] * 2


def test_records_that_contradict_each_other_are_told(listed: Package) -> None:
    path = next(listed.suite.rglob("direct-*.json"))
    record = read_record(path)
    assert record.split
    split = record.split.model_copy(update={"fingerprint": "another"})
    write_record(path, record.model_copy(update={"split": split}).sealed())
    forget()
    with pytest.warns(
        UserWarning, match=r"records? contradicts? others in weights, split or recipe: compare no figures"
    ):
        assert len(mibench.records(listed.suite)) == 4


def test_what_a_suite_does_not_ask_for_is_in_a_frame_only_if_asked(ran: Package) -> None:
    suite = ran.suite / "suite.toml"
    suite.write_text("seeds = [1]\n" + suite.read_text())
    forget()
    with pytest.warns(UserWarning, match="does not ask for are left out: 6 of another seed"):
        assert mibench.records(ran.suite).empty
    assert set(mibench.records(ran.suite, current_only=False).current) == {"excluded"}


def test_records_of_an_uninstalled_package_are_marked_in_a_frame(listed: Package) -> None:
    file = listed.suite / "acme_file.py"
    file.write_text(listed.module.read_text())
    listed.remove()
    forget()
    with pytest.warns(
        UserWarning, match="4 records could not be checked and may be stale: attack direct, defense brisk"
    ):
        frame = mibench.records(listed.suite)
    assert len(frame) == 4 and set(frame.current) == {"unknown"}
    assert set(mibench.records(listed.suite, plugins=(file,)).current) == {"yes"}
    code, out, err = listed.run("export", listed.suite)
    assert code == 0 and out.count(",unknown,") == 4 and "could not be checked" in err
    code, out, err = listed.run("export", listed.suite, "--plugin", file)
    assert (code, err) == (0, "") and out.count(",yes,") == 4


def test_what_was_made_by_an_uninstalled_package_is_unknown(listed: Package) -> None:
    listed.remove()
    page = board(listed)
    names = "attack direct, defense brisk, defense calm are not registered"
    assert f"**4 records could not be checked** and may be stale: {names}. Install the plugin" in page
    assert "\n| `direct`[^1] | " in page and "[^1]: Its records may be stale." in page
    assert f"4 records could not be checked and may be stale: {names}" in check(listed)
    code, out, _ = listed.run("validate", listed.suite)
    assert code == 1 and f"4 records could not be checked: {names}; install the plugin or give --plugin" in out
    assert "sound" not in out
    listed.install("1.1")
    assert listed.run("validate", listed.suite)[0] == 0


def test_a_file_says_what_is_current(listed: Package) -> None:
    """Given with --plugin, instead of the package."""
    file = listed.suite / "acme_file.py"
    file.write_text(listed.module.read_text())
    listed.remove()
    assert listed.run("validate", listed.suite, "--plugin", file)[0] == 0
    assert listed.run("leaderboard", listed.suite, "--plugin", file)[0] == 0
    assert listed.run("leaderboard", listed.suite, "--plugin", file, "--check")[0] == 0
    assert "4 done" in listed.run("status", listed.suite, "--plugin", file)[1]


def test_the_board_names_the_packages_of_its_methods(listed: Package) -> None:
    page = board(listed)
    assert (
        "Methods from: acme 1.0 (attack direct, defense brisk, defense calm) · mibench 0.1.0 (dataset digits)." in page
    )


def test_controls_of_a_defense_with_steps_of_its_own_are_those_of_its_process(listed: Package) -> None:
    assert "no control of what else" not in board(listed)
    listed.edit('name = "brisk"\n', 'name = "brisk"\n    losses = lambda self, *given: super().losses(*given)\n')
    assert "no control of what else a defense replaces: `brisk` (`losses`).\n" in board(listed)
