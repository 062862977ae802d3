"""The summary of a run as a page that any browser shows: no scripts, nothing from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vfield.core.json_files import exact

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
:root { color-scheme: light dark; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .15rem 1rem .15rem 0; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } th { font-weight: normal; opacity: .7; white-space: nowrap; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; margin-bottom: 1rem; } figure { margin: 0; flex: 1 1 20rem; }
figure img, svg { width: 100%; height: auto; } figcaption { opacity: .7; }
.mark { border: 2px solid; padding: .3rem .8rem; display: inline-block; }
"""
_CURVE_WIDTH, _CURVE_HEIGHT = 640, 200
_MOST_POINTS = 400  # of a curve: more than there are columns to show them

Curve = Sequence[tuple[int, float]]


def page(summary: Mapping[str, Any], curves: Mapping[str, Curve]) -> str:
    """The page, HTML, of a summary whose exports have a link from the page ("href") each.

    Its pictures, if it has any, are rows of file names, relative to the page, and captions. Curves, by what they show,
    are values by step; those of fewer than two points are left out.
    """
    title = escape(Path(summary["clip"]["source"]).name or "a clip made in memory")
    parts = [f"<h1>{title}</h1>"]
    if summary["status"] != "done":
        parts.append('<p class="mark">The fit was stopped before its end.</p>')
    parts += [_rows(summary.get("pictures", [])), _table(_figures(summary)), _exports(summary["exports"])]
    parts += [_curve(name, points) for name, points in curves.items() if len(points) > 1]
    parts.append("<h2>Settings that are not the defaults</h2>")
    parts.append(_table(summary["config"]) if summary["config"] else "<p>None.</p>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head += f"<style>{_STYLE}</style>"
    body = "\n".join(filter(None, parts))
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _figures(summary: Mapping[str, Any]) -> dict[str, str]:
    clip, held_out, expected = summary["clip"], summary["held_out"], summary["expected"]
    shown = {
        "clip": f"{_frames(clip)}, {clip['seconds']:.2f} s at {_rate(clip)}",
        "file": clip["source"],
        "part": _listed(clip["part"]),
        "colour": _listed({name: value for name, value in clip["colour"].items() if not isinstance(value, dict)}),
        "fit": f"{summary['steps']} steps in {summary['seconds']:.0f} s, {summary['status']}",
    }
    if expected is not None:
        shown["expected of frames never seen"] = f"PSNR {expected['psnr']:.1f} dB"
        if expected["doubtful"]:
            parts = (f"{s['start_seconds']:.2f} to {s['end_seconds']:.2f} s" for s in expected["doubtful"])
            shown["motion too large to trust"] = ", ".join(parts)
    if held_out is not None:
        ssim = "" if held_out["ssim"] is None else f", SSIM {held_out['ssim']:.4f}"
        shown["held-out frames"] = f"PSNR {held_out['psnr']:.2f} dB{ssim} over {held_out['frames']} frames"
    shown["peak memory"] = f"{summary['peak_megabytes']:.0f} MB above the start"
    shown["versions"] = _listed(summary["versions"])
    return {name: text for name, text in shown.items() if text}


def _frames(of: Mapping[str, Any]) -> str:
    return f"{of['frames']} frames of {of['width']}x{of['height']}"


def _rate(of: Mapping[str, Any]) -> str:
    return f"{float(exact(of['frame_rate'], 'frame_rate')):.5g} fps"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _table(values: Mapping[str, Any]) -> str:
    lines = (f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in values.items())
    return f"<table>{''.join(lines)}</table>"


def _exports(exports: Sequence[Mapping[str, Any]]) -> str:
    if not exports:
        return ""
    lines = []
    for entry in exports:
        link = f'<a href="{escape(quote(os.fsencode(entry["href"])))}">{escape(Path(entry["path"]).name)}</a>'
        cells = [
            *[f"{_frames(entry)} at {_rate(entry)}", f"{entry['seconds']:.2f} s", f"{entry['bytes'] / 1e6:.2f} MB"],
            *[f"sound: {entry['audio']}", _listed(entry["options"])],
        ]
        lines.append(f"<tr><td>{link}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    return f"<h2>Exported</h2><table>{''.join(lines)}</table>"


def _rows(pictures: Sequence[Sequence[tuple[str, str]]]) -> str:
    rows = []
    for row in pictures:
        cells = (
            f'<figure><img src="{escape(quote(file))}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
            for file, caption in row
        )
        rows.append(f'<div class="row">{"".join(cells)}</div>')
    return "".join(rows)


def _curve(name: str, points: Curve) -> str:
    """A line over steps, with its least and greatest value beside it."""
    stride = -(-len(points) // _MOST_POINTS)
    kept = [*points[:-1:stride], points[-1]]
    first, last = kept[0][0], kept[-1][0]
    low, high = min(value for _, value in kept), max(value for _, value in kept)
    across, up = max(1, last - first), (high - low) or 1.0
    drawn = " ".join(
        f"{_CURVE_WIDTH * (step - first) / across:.1f},{_CURVE_HEIGHT * (1 - (value - low) / up):.1f}"
        for step, value in kept
    )
    return (
        f"<h2>{escape(name)}</h2>"
        f'<svg viewBox="-4 -24 {_CURVE_WIDTH + 8} {_CURVE_HEIGHT + 52}" role="img">'
        f'<polyline points="{drawn}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<g fill="currentColor" font-size="13"><text x="0" y="-8">{high:.4g}</text>'
        f'<text x="0" y="{_CURVE_HEIGHT + 18}">{low:.4g}</text>'
        f'<text x="{_CURVE_WIDTH}" y="{_CURVE_HEIGHT + 18}" text-anchor="end">steps {first} to {last}</text></g></svg>'
    )
