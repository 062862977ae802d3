"""Text from files and their names, made fit to be shown: what it holds is never obeyed by a terminal.

Names are bytes, and need not be UTF-8: Python keeps the bytes that are not as lone surrogates, so that the name can be
given back to the system, but such text cannot be printed or coded.
"""

from __future__ import annotations

import codecs
import logging
import re

LATIN_1 = "vfield.latin-1"
"""For `bytes.decode`: bytes that are not UTF-8 are read as Latin-1, of which every byte is a letter."""

# Control characters, line ends of Unicode, marks that turn the direction of what follows, and lone surrogates.
_UNSHOWN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES, _IN_ONE_LINE = re.compile(f"[{_UNSHOWN}]"), re.compile(f"[{_UNSHOWN}\t\n]")
_BYTES = range(0xDC80, 0xDD00)  # surrogates for bytes (PEP 383)


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(LATIN_1, _as_latin_1)


def printable(text: str, lines: bool = False) -> str:
    r"""Text with what a terminal would obey, or could not show, written out: "\x1b[31m" for its byte.

    `lines` says that its line ends and tabs are meant.
    """
    return (_IN_LINES if lines else _IN_ONE_LINE).sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    if found[0] in "\t\n":
        return {"\t": r"\t", "\n": r"\n"}[found[0]]
    code = ord(found[0])
    code -= 0xDC00 if code in _BYTES else 0
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def as_text(name: str) -> str:
    """A name of the system as text that can be coded: bytes of it that are not UTF-8 are read as Latin-1."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", LATIN_1)


class PrintableFormatter(logging.Formatter):
    """Messages of vfield in one line each; those of other libraries, and traces, in lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        if record.name.startswith("vfield"):
            record = logging.makeLogRecord({**vars(record), "msg": printable(record.getMessage()), "args": None})
        return printable(super().format(record), lines=True)
