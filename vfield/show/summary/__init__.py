"""What a run is told by: `summary.json` for programs, `summary.html` for people, and its pictures in `summary`."""

from vfield.show.summary.figures import PAGE_NAME, SUMMARY_NAME, exported_before, is_done, read_summary, summed_up
from vfield.show.summary.pictures import pictures
from vfield.show.summary.write import add_export, write_summary

__all__ = [
    "PAGE_NAME",
    "SUMMARY_NAME",
    "add_export",
    "exported_before",
    "is_done",
    "pictures",
    "read_summary",
    "summed_up",
    "write_summary",
]
