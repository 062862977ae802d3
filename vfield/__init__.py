"""vfield: a spatio-temporal neural field for video clips.

    import vfield

    config = vfield.load_config("configs/fast.yaml")
    vfield.fit("clip.mp4", config, out="runs/clip")     # its frames are read as they are needed, however many
    vfield.export("runs/clip", "slow.mp4", slowmo=4)    # options are those of ExportConfig

    field = vfield.load("runs/clip")
    rgb = field(uvt)                                    # (n, 3) positions and instants -> (n, 3) colours
    for frame in vfield.render(field, (1080, 1920), [0.0, 0.01, 0.02]):
        ...                                             # (3, 1080, 1920) in [0, 1]

A clip in memory is fitted, too: `vfield.fit(clip)`, where `clip` is a `vfield.Clip`, by `vfield.read_clip` or
`vfield.open_clip`, or made of a tensor.

Importing the package starts nothing; each name is loaded when it is first used. Import it before torch, if both are
imported: OpenMP's threads then sleep while they wait (`OMP_WAIT_POLICY=PASSIVE`, unless it is set), without which a fit
beside other programs is many times slower. Once torch is loaded, that cannot be changed any more.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from vfield.lazily import names_from
from vfield.openmp import wait_asleep

if TYPE_CHECKING:
    from vfield.checkpoint import load, load_field, save_field
    from vfield.clip import Clip
    from vfield.config import load_config
    from vfield.errors import UserError
    from vfield.export import export
    from vfield.export_config import ExportConfig
    from vfield.opening import open_clip
    from vfield.render import render
    from vfield.training import Config, adapt, fit, fit_many
    from vfield.video_io import read_clip

wait_asleep()

_HOMES = {
    "Clip": "vfield.clip",
    "Config": "vfield.training",
    "ExportConfig": "vfield.export_config",
    "UserError": "vfield.errors",
    "adapt": "vfield.training",
    "export": "vfield.export",
    "fit": "vfield.training",
    "fit_many": "vfield.training",
    "load": "vfield.checkpoint",
    "load_config": "vfield.config",
    "load_field": "vfield.checkpoint",
    "open_clip": "vfield.opening",
    "read_clip": "vfield.video_io",
    "render": "vfield.render",
    "save_field": "vfield.checkpoint",
}

__all__ = [
    "Clip",
    "Config",
    "ExportConfig",
    "UserError",
    "adapt",
    "export",
    "fit",
    "fit_many",
    "load",
    "load_config",
    "load_field",
    "open_clip",
    "read_clip",
    "render",
    "save_field",
]


class _Package(ModuleType):
    """Where a function has its module's name (render, export), the name is the function, whatever was imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


__getattr__ = names_from(__name__, _HOMES)
