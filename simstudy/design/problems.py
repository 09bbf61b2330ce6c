"""Problems of a design file, each with its line; all of a file are reported together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from simstudy.errors import DesignError

Path = tuple[str | int, ...]
"""Where a key stands: ``("population", "icc", "x")``; numbers count the tables of an array, from 0."""

_HEADER = re.compile(r"[ \t]*(\[\[?)[ \t]*([^\]\n]*?)[ \t]*\]\]?")
_KEY_PART = re.compile(r"\s*(?:\"([^\"\n]*)\"|'([^'\n]*)'|([A-Za-z0-9_-]+))\s*")
_MODEL_LINE = re.compile(r"model line (\d+)\b")


@dataclass
class Problems:
    """Collects problems of one file.

    Attributes
    ----------
    source : str
        Name of the file.
    text : str
        Its content; may be empty.
    """

    source: str
    text: str = ""
    _found: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lines = key_lines(self.text)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: Path, message: str, line: int | None = None) -> None:
        """Note a problem of the key at ``path``."""
        line = line or self.line(path)
        where = f"{self.source}:{line}" if line else self.source
        dotted = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        self._note(line or 0, f"{where}: {dotted}: {message}" if dotted else f"{where}: {message}")

    def note(self, messages: Iterable[str]) -> None:
        """Note problems that are not the file's."""
        for message in messages:
            self._note(0, message)

    def add_model(self, path: Path, messages: Iterable[str]) -> None:
        """Note problems of a model text, which count the lines of that text."""
        first, begins_below = self._lines.get(path, (0, False))
        for message in messages:
            match = _MODEL_LINE.match(message)
            line = first + int(match.group(1)) - (not begins_below) if match and first else None
            self.add(path, message, line)

    def has(self, path: Path) -> bool:
        """Whether a key stands in the file on a line of its own."""
        return path in self._lines

    def line(self, path: Path) -> int:
        """Line of a key, or of the closest table around it; 0 when unknown."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._lines:
                return self._lines[path[:end]][0]
        return 0

    def raise_if_any(self) -> None:
        """Raise a `DesignError` with all problems, in the order of the file."""
        if self._found:
            raise DesignError([message for _, message in sorted(self._found, key=lambda item: item[0])])

    def _note(self, line: int, message: str) -> None:
        if (line, message) not in self._found:
            self._found.append((line, message))


def key_lines(text: str) -> dict[Path, tuple[int, bool]]:
    """Line of every table and key of a valid TOML text, and whether its value is text that begins on the next line."""
    found: dict[Path, tuple[int, bool]] = {}
    table: Path = ()
    arrays: dict[Path, int] = {}
    position = 0
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        header = _HEADER.match(text, position)
        if header:
            table = _key(header.group(2))
            if header.group(1) == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
            found.setdefault(table, (line, False))
            position = _line_end(text, header.end())
            continue
        end = _line_end(text, position)
        equals = _equals(text, position, end)
        if equals is None:
            position = end
            continue
        value = text[equals + 1 : equals + 400].lstrip(" \t")
        below = re.match(r"(\"\"\"|''')\r?\n", value) is not None
        found.setdefault((*table, *_key(text[position:equals])), (line, below))
        position = _value_end(text, equals + 1)
    return found


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _key(text: str) -> Path:
    """Parts of a dotted key."""
    parts = []
    position = 0
    while match := _KEY_PART.match(text, position):
        parts.append(next(group for group in match.groups() if group is not None))
        position = match.end() + 1  # behind the dot
    return tuple(parts)


def _equals(text: str, begin: int, end: int) -> int | None:
    """Position of the ``=`` of a line, outside quotes and comments."""
    quote = ""
    for position in range(begin, end):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return None
        elif character == "=":
            return position
    return None


def _value_end(text: str, position: int) -> int:
    """Beginning of the line after a value, which may span several."""
    depth = 0
    while position < len(text):
        character = text[position]
        if character in "\"'":
            quote = character * 3 if text.startswith(character * 3, position) else character
            position += len(quote)
            while position < len(text) and not text.startswith(quote, position):
                position += 2 if text[position] == "\\" and character == '"' else 1
            position += len(quote)
            continue
        if character == "#":
            position = _line_end(text, position) - 1
            continue
        depth += (character in "[{") - (character in "]}")
        position += 1
        if character == "\n" and depth <= 0:
            return position
    return position
