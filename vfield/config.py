"""The whole configuration: the owners' frozen dataclasses composed, loaded from YAML and saved with the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from vfield.checkpoint import config_from_json
from vfield.errors import UserError
from vfield.field.video_field import FieldConfig
from vfield.flow import FlowConfig
from vfield.objective import ObjectiveConfig
from vfield.sampling import SamplingConfig
from vfield.training import TrainingConfig


@dataclass(frozen=True)
class Config:
    """Everything that decides what a fit does, besides the clip.

    Attributes:
        field: the parts of the field.
        flow: the classical flow that starts its motion.
        sampling: what a batch holds.
        objective: the loss terms.
        training: the loop.
    """

    field: FieldConfig = FieldConfig()
    flow: FlowConfig = FlowConfig()
    sampling: SamplingConfig = SamplingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()


def load_config(path: str | Path) -> Config:
    """Read a YAML file that states differences from the defaults.

    Raises:
        UserError: when the file is missing, not YAML, or has an unknown key or a wrong value.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"config {path} does not exist; the presets are in configs/")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"config {path} must be a mapping of keys, got {values!r}")
    return config_from_dict(values)


def config_from_dict(values: dict[str, Any]) -> Config:
    """A config from nested dictionaries of differences; unknown keys and wrong values are UserErrors."""
    config: Config = config_from_json(Config, values)
    return config


def save_config(path: Path, config: Config) -> None:
    """Write every value, so that the run can be read and repeated without the preset it came from."""
    path.write_text(yaml.safe_dump(to_plain(config), sort_keys=False))


def to_plain(config: Any) -> Any:
    """A config dataclass as dictionaries, lists and numbers, fit for YAML."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return plain(asdict(config))
