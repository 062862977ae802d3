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

from typing import TYPE_CHECKING

from vfield.core.startup import give_back_memory, names_from, wait_asleep

if TYPE_CHECKING:
    from vfield.core.clip import Clip
    from vfield.core.errors import UserError
    from vfield.field.checkpoint import load, load_field, save_field
    from vfield.field.render import render
    from vfield.learn import Config, adapt, fit, fit_many
    from vfield.learn.config_files import load_config
    from vfield.output.config import ExportConfig
    from vfield.output.export import export
    from vfield.prepare.opening import open_clip
    from vfield.video_io import read_clip

wait_asleep()
give_back_memory()

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

__getattr__ = names_from(__name__, __file__)
