"""The notebook: its cells run as they stand, and what it shows was made by them and names no machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vfield.video_io import read_clip

pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install -e '.[lab]'")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DOCS / "notebook.ipynb").read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_cells_run(
    cells: list[dict[str, Any]], demo_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), "notebook", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            # The same, smaller: paths are from the notebook's own folder.
            names |= {name: str(DOCS / names[name]) for name in ("CLIP", "CONFIG")}
            names |= {"SIZE": (36, 64), "SECONDS": 0.2}
            assert Path(names["CLIP"]).samefile(demo_clip)
    slow = read_clip(tmp_path / "slow.mp4")
    assert (len(slow), slow.height, slow.width) == (15, 36, 64)
    assert names["large"].shape == (3, 333, 592)


def test_outputs_are_there_small_and_of_no_machine(cells: list[dict[str, Any]]) -> None:
    text = (DOCS / "notebook.ipynb").read_text()
    assert len(text) < 1_000_000
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert kinds.count("display_data") == 3
    assert "error" not in kinds
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    told = "".join("".join(output.get("text", "")) for cell in cells for output in cell["outputs"])
    assert "slow.mp4: " in told
    assert not any(place in text for place in ("/home/", "/Users/", "/root/", "/tmp/", "/work"))
