"""Configs in files: loaded from YAML as differences from the defaults, saved whole with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from vfield.core.errors import UserError, brief
from vfield.core.parsing import config_from_json
from vfield.core.yaml_files import read_yaml
from vfield.learn import Config

CONFIG_NAME = "config.yaml"


def load_values(path: str | Path) -> dict[str, Any]:
    """The nested mapping that a YAML file holds: differences from the defaults, not yet checked.

    Raises:
        UserError: when the file is missing or not a mapping in YAML.
    """
    if not Path(path).exists():
        raise UserError(f"config {path} does not exist; the presets are in configs/")
    values = read_yaml(path, "config")
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(f"config {path} must be a mapping of keys, got {brief(values)}")
    return values


def config_from_values(values: dict[str, Any]) -> Config:
    """A config from nested differences; unknown keys and wrong values are UserErrors."""
    config: Config = config_from_json(Config, values)
    return config


def load_config(path: str | Path) -> Config:
    """The config that a YAML file describes."""
    return config_from_values(load_values(path))


def differences(config: Config, default: Config | None = None) -> dict[str, Any]:
    """The values of a config that are not those of another (None: the defaults), by their dotted names."""
    own, other = _flat(asdict(config)), _flat(asdict(default or Config()))
    return {name: value for name, value in own.items() if value != other[name]}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def config_text(config: Config) -> str:
    """Every value as YAML, so that a run can be read and repeated without the preset that it came from."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    text: str = yaml.safe_dump(plain(asdict(config)), sort_keys=False)
    return text
