"""Configs in files: every preset loads, says only what differs, and what is wrong in a file is named in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from vfield.core.errors import UserError
from vfield.field.config import FieldConfig
from vfield.field.latents import LocalConfig
from vfield.learn import Config, TrainingConfig
from vfield.learn.config_files import config_from_values, config_text, load_config, load_values

PRESETS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of a nested mapping with its full key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), list(value) if isinstance(value, tuple) else value


def refused(values: dict[str, Any]) -> str:
    """The one line with which these values are refused."""
    with pytest.raises(UserError) as told:
        config_from_values(values)
    assert "\n" not in str(told.value)
    return str(told.value)


# ------------------------------------------------------------------------------------------------ presets


def test_there_are_presets() -> None:
    assert {"fast", "balanced", "best", "many", "plain", "tiny"} <= {path.stem for path in PRESETS}


@pytest.mark.slow
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_loads_and_means_what_it_says(path: Path) -> None:
    resolved = dict(leaves(asdict(load_config(path))))
    for key, value in leaves(load_values(path)):
        assert resolved[key] == value, key


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_state_only_what_differs_from_the_defaults(path: Path) -> None:
    defaults = dict(leaves(asdict(Config())))
    repeated = [".".join(key) for key, value in leaves(load_values(path)) if defaults[key] == value]
    assert not repeated


def test_the_balanced_preset_is_the_default() -> None:
    assert load_config(PRESETS[0].with_name("balanced.yaml")) == Config() == config_from_values({})


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_begin_with_a_line_that_says_what_they_are_for(path: Path) -> None:
    assert path.read_text().startswith("# ")


# ------------------------------------------------------------------------------------------------ round trip


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        Config(),
        *map(load_config, PRESETS),
        replace(Config(), field=FieldConfig(local=LocalConfig(levels=()))),
        replace(
            Config(), training=TrainingConfig(steps=None, minutes=1 / 3, mixed_precision="bf16", learning_rate=1e-7)
        ),
    ],
)
def test_a_config_written_as_text_reads_back_equal(config: Config) -> None:
    text = config_text(config)
    assert config_from_values(yaml.safe_load(text)) == config
    assert "!!" not in text  # nothing that only Python's YAML could read


def test_the_text_holds_every_value(tmp_path: Path) -> None:
    config = load_config(PRESETS[0].with_name("tiny.yaml"))
    path = tmp_path / "config.yaml"
    path.write_text(config_text(config))
    assert dict(leaves(load_values(path))) == dict(leaves(asdict(config)))
    assert load_config(path) == config


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    for text in ("", "# only a remark\n", "{}\n"):
        (tmp_path / "empty.yaml").write_text(text)
        assert load_config(tmp_path / "empty.yaml") == Config()


# ------------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    "values",
    [
        {"surprise": 1},
        {"training": {"surprise": 1}},
        {"field": {"surprise": 1}},
        {"field": {"motion": {"surprise": 1}}},
        {"sampling": {"surprise": {"deep": 1}}},
    ],
)
def test_an_unknown_key_is_named_at_every_level(values: dict[str, Any]) -> None:
    assert "surprise" in refused(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "key", "value"),
    [
        ({"training": {"steps": "many"}}, "steps", "many"),
        ({"training": {"learning_rate": "fast"}}, "learning_rate", "fast"),
        ({"training": {"device": "tpu"}}, "device", "tpu"),
        ({"training": {"mixed_precision": "fp8"}}, "mixed_precision", "fp8"),
        ({"field": {"local": {"levels": "all"}}}, "levels", "all"),
        ({"field": {"local": {"levels": [16, "x"]}}}, "levels", "x"),
        ({"field": {"motion": {"enabled": "perhaps"}}}, "enabled", "perhaps"),
        ({"field": {"decoder": {"width": 2.5}}}, "width", "2.5"),
        ({"sampling": {"patches": [4]}}, "patches", "4"),
        ({"sampling": {"patches": None}}, "patches", ""),
        ({"training": 3}, "training", "3"),
        ({"field": [1, 2]}, "field", ""),
        ({"field": {"motion": "off"}}, "motion", "off"),
        ({"flow": "dis"}, "flow", "dis"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_key(values: dict[str, Any], key: str, value: str) -> None:
    line = refused(values)
    assert key in line
    assert value in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"training": {"steps": -1}}, "training.steps"),
        ({"training": {"minutes": 0.0}}, "training.minutes"),
        ({"training": {"minutes": float("inf")}}, "training.minutes"),
        ({"training": {"minutes": float("nan")}}, "minutes"),
        ({"training": {"learning_rate": -1e-3}}, "learning_rate"),
        ({"training": {"learning_rate": float("nan")}}, "learning"),
        ({"training": {"accumulation": 0}}, "accumulation"),
        ({"training": {"save_seconds": 0.0}}, "save_seconds"),
        ({"training": {"seed": 10**20}}, "seed"),
        ({"sampling": {"patches": 0}}, "sampling.patches"),
        ({"sampling": {"hidden_share": 1.5}}, "hidden_share"),
        ({"objective": {"detail": -1.0}}, "objective"),
        ({"field": {"local": {"levels": [0]}}}, "levels"),
        ({"field": {"motion": {"cell": 0}}}, "cell"),
        ({"field": {"decoder": {"width": 0}}}, "width"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], word: str) -> None:
    assert word in refused(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"- 1\n- 2\n", "mapping"),
        (b"just words\n", "mapping"),
        (b"training: [1\n", "not YAML"),
        (b"a: b: c\n", "not YAML"),
        (b"\xff\xfe\x00\x86", "not YAML"),
        (b"training: !!python/object/apply:os.getcwd []\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_config_says_so_in_one_line(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=word) as told:
        load_config(path)
    assert "mine.yaml" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(UserError, match=path.name) as told:
            load_config(path)
        assert "\n" not in str(told.value)


@pytest.mark.slow
def test_each_axis_of_space_may_have_its_own_bandwidth() -> None:
    for given, kept in ((3.5, 3.5), (4, 4.0), ([12.0, 3.0], (12.0, 3.0))):
        config = config_from_values({"field": {"fourier": {"space_bandwidth": given}}})
        assert config.field.fourier.space_bandwidth == kept
        assert config_from_values(yaml.safe_load(config_text(config))) == config
    assert "space_bandwidth" in refused({"field": {"fourier": {"space_bandwidth": [1.0, 2.0, 3.0]}}})
