"""Results that appear whole or not at all, what dead processes leave, and folders that one process holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from processes import in_child, kill_child

from vfield.core.errors import UserError
from vfield.core.folders import LOCK_NAME, check_parent, clear_dead, held, is_own_name, made_beside, replaced


def make_folder(path: Path, text: str) -> None:
    path.mkdir()
    (path / "000000.png").write_text(text)


def fail_halfway(file: Path) -> None:
    file.write_text("half")
    raise ZeroDivisionError


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# ------------------------------------------------------------------------------------------- temporary names


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with replaced(tmp_path / "a.txt") as partial:
        partial.write_text("one")
        assert not (tmp_path / "a.txt").exists()
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "a.txt") as partial:
        fail_halfway(partial)
    assert (tmp_path / "a.txt").read_text() == "one"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with replaced(tmp_path / "out") as partial:
            make_folder(partial, text)
    assert (tmp_path / "out/000000.png").read_text() == "two"
    assert names_in(tmp_path) == ["out"]


def test_what_a_killed_process_has_left_is_cleared_away_and_a_living_ones_is_not(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    making = made_beside(target)
    child = in_child(lambda: making.__enter__().write_text("half"), tmp_path / "sign")
    (left,) = tmp_path.iterdir()
    assert is_own_name(left.name)
    with replaced(target) as partial:
        partial.write_text("whole")
    assert (left / "new").read_text() == "half"
    kill_child(child)
    with replaced(tmp_path / "b.txt") as partial:  # another's result is not looked after
        partial.touch()
    assert left.exists()
    with replaced(target) as partial:
        partial.write_text("again")
    assert names_in(tmp_path) == ["a.txt", "b.txt"]


def test_a_temporary_folder_without_its_lock_was_a_dead_ones(tmp_path: Path) -> None:
    """Killed between making the folder and locking it; the process may have had the number that this one has."""
    (tmp_path / ".a.partial-1-0123abcd").mkdir()
    clear_dead(tmp_path / "a")
    assert names_in(tmp_path) == []


def test_a_process_whose_folder_was_taken_for_a_dead_ones_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = list[Path](), Path.mkdir
    others = list[FileLock]()

    def found_meanwhile(path: Path, **options: Any) -> None:
        make(path, **options)
        made.append(path)
        if len(made) == 1:
            others.append(FileLock(path / "lock"))
            others[0].acquire(timeout=0)

    making = made_beside(tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", found_meanwhile)
        file = making.__enter__()
    first, second = dict.fromkeys(made)
    assert file.parent == second
    clear_dead(tmp_path / "a")
    assert names_in(tmp_path) == sorted([first.name, second.name])
    others[0].release()
    making.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    clear_dead(tmp_path / "a")
    assert names_in(tmp_path) == []


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    """Killed between the two renames."""
    out = tmp_path / "out"
    make_folder(out, "old")
    making = made_beside(out)

    def half() -> None:
        file = making.__enter__()
        make_folder(file, "new")
        os.replace(out, file.parent / "old")

    kill_child(in_child(half, tmp_path / "sign"))
    assert not out.exists()
    clear_dead(out)
    assert (out / "000000.png").read_text() == "old"
    assert names_in(tmp_path) == ["out"]


def test_a_folder_comes_back_when_the_new_one_does_not_take_its_place(tmp_path: Path) -> None:
    make_folder(tmp_path / "out", "old")

    def stopped() -> None:
        with made_beside(tmp_path / "out") as file:
            make_folder(file, "new")
            os.replace(tmp_path / "out", file.parent / "old")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (tmp_path / "out/000000.png").read_text() == "old"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, f"a.{'b' * 253}", "lock", "new", "old", ".lock"])
def test_any_name_that_a_file_may_have_can_be_written(name: str, tmp_path: Path) -> None:
    for text in ("one", "two"):
        with replaced(tmp_path / name) as partial:
            partial.write_text(text)
    assert (tmp_path / name).read_text() == "two"
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("name", [".", "..", "there/.."])
def test_places_that_are_no_names_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no name of a new file"):
        check_parent(Path(name))


# ------------------------------------------------------------------------------------------- run folders


def test_a_folder_is_held_by_one_process_and_let_go_when_it_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "clip"

    def hold() -> None:
        holding = held(run)
        holding.__enter__()
        kept.append(holding)  # or it would be let go

    kept: list[object] = []
    child = in_child(hold, tmp_path / "sign")
    with pytest.raises(UserError, match="another process is at work"), held(run, wait_seconds=0.1):
        pass
    assert names_in(run) == [LOCK_NAME]
    kill_child(child)
    with held(run):
        (run / "field").touch()
    assert names_in(run) == ["field"]


def test_a_folder_may_be_held_twice_by_one_process_and_is_gone_if_nothing_came_into_it(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "clip"
    with held(run):
        with held(run):
            pass
        assert names_in(run) == [LOCK_NAME]
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"), held(tmp_path / "file" / "run"):
        pass
    assert names_in(tmp_path) == ["file"]
