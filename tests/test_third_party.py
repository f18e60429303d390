"""A package of a third party, raised, edited and removed: what the commands say of the records that it made."""

from __future__ import annotations

from third_party import Package


def test_its_methods_are_listed_and_run(package: Package) -> None:
    assert "acme (acme 1.0): defense calm, defense brisk, attack direct, attack late" in package.run("plugins")[1]
    code, out, err = package.run("run", package.suite)
    assert code == 0 and "4 of 4 cells done, 4 now" in out, err
    package.remove()
    code, _, err = package.run("run", package.suite)
    assert code == 2 and "unknown defense 'calm'" in err
