"""Whatever door vfield is entered by, OpenMP is told to wait asleep before torch, which loads it, is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# In place of torch: says how its OpenMP would have waited, and ends the process.
STUB = f"""import os, sys
print("waits", *(os.environ.get(name) for name in {SETTINGS}))
sys.exit(0)
"""
LAUNCH = ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes=1", "--num_machines=1"]
LAUNCH += ["--mixed_precision=no", "--dynamo_backend=no"]
DOORS = {
    "the command": ["-c", "import sys; from vfield.cli import main; sys.exit(main(sys.argv[1:]))", "snapshot", "none"],
    "python -m": ["-m", "vfield", "snapshot", "none"],
    "the library": ["-c", "import vfield; vfield.load_field"],
    "a module of it": ["-c", "import vfield.field.video_field"],
    "train.py": ["scripts/train.py", "--video", "none.mp4"],
    "render.py": ["scripts/render.py", "none"],
    "evaluate.py": ["scripts/evaluate.py", "--clip", "none.mp4", "--holdout", "2"],
    "benchmark.py": ["scripts/benchmark.py", "interpolation"],
    "demo.py": ["scripts/demo.py"],
}


def environment(**given: str) -> dict[str, str]:
    """This process's, with the package under test and nothing said of how to wait but what is given."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return {**kept, "PYTHONPATH": str(ROOT), **given}


def entered(words: list[str], tmp_path: Path, **given: str) -> str:
    """What the stub says where it is loaded in torch's place."""
    (tmp_path / "torch.py").write_text(STUB)
    words = [*words, *(["-o", "out"] if "none" in words else [])]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment(**{**given, "PYTHONPATH": path}),
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_by_every_door_threads_sleep(door: str, tmp_path: Path) -> None:
    assert entered(DOORS[door], tmp_path) == "waits PASSIVE None 0\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None None"),
        ({"GOMP_SPINCOUNT": "7"}, "None 7 0"),
        ({"KMP_BLOCKTIME": "7"}, "PASSIVE None 7"),
    ],
)
def test_what_the_user_has_set_is_left_alone(given: dict[str, str], told: str, tmp_path: Path) -> None:
    assert entered(DOORS["python -m"], tmp_path, **given) == f"waits {told}\n"


@pytest.mark.slow
def test_launched_processes_do_so_too(tmp_path: Path) -> None:
    # The launcher itself needs the real torch.
    script = tmp_path / "launched.py"
    (tmp_path / "torch.py").write_text(STUB)
    script.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport vfield.field.video_field\n")
    launcher = tmp_path / "elsewhere"
    launcher.mkdir()
    script = script.rename(launcher / script.name)
    done = subprocess.run(
        [sys.executable, *LAUNCH, str(script)], env=environment(), text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    # Accelerate sets KMP_BLOCKTIME.
    assert "waits PASSIVE None" in done.stdout


@pytest.mark.slow
def test_the_real_library_heeds_it() -> None:
    words = [sys.executable, "-c", "import vfield, torch"]
    told = subprocess.run(
        words, env=environment(OMP_DISPLAY_ENV="verbose"), text=True, capture_output=True, timeout=60
    ).stderr
    if "OMP_WAIT_POLICY" not in told:
        pytest.skip("torch has no OpenMP here that tells its settings")
    assert re.search(r"(GOMP_SPINCOUNT|KMP_BLOCKTIME) ?= ?'0\D*'", told), told


def test_where_torch_is_loaded_nothing_is_changed() -> None:
    ask = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import vfield, os; print(os.environ)"
    told = subprocess.run([sys.executable, "-c", ask], env=environment(), text=True, capture_output=True, check=True)
    assert "OMP_WAIT_POLICY" not in told.stdout
