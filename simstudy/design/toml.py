"""A design as nested values -> the TOML text of the same design file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from simstudy.errors import DesignError


def to_toml(content: Mapping[str, Any]) -> str:
    """TOML of nested dicts, lists, texts and numbers; tables at the top have a header of their own.

    Raises
    ------
    DesignError
        One message a value that TOML has no form for.

    Examples
    --------
    >>> print(to_toml({"study": {"name": "a", "seed": 1}, "factors": {"n_clusters": [30, 50]}}))
    [study]
    name = "a"
    seed = 1
    <BLANKLINE>
    [factors]
    n_clusters = [30, 50]
    <BLANKLINE>
    """
    problems: list[str] = []
    plain = {name: value for name, value in content.items() if not isinstance(value, Mapping)}
    parts = ["".join(f"{_key(name)} = {_value(value, name, problems)}\n" for name, value in plain.items())]
    for name, table in content.items():
        if isinstance(table, Mapping):
            lines = [f"{_key(key)} = {_value(value, f'{name}.{key}', problems)}\n" for key, value in table.items()]
            parts.append(f"[{_key(name)}]\n" + "".join(lines))
    if problems:
        raise DesignError(problems)
    return "\n".join(part for part in parts if part)


def _key(name: object) -> str:
    text = str(name)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=False)


def _value(value: Any, path: str, problems: list[str]) -> str:
    """One value; strings of several lines keep them."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int():
            return str(value)
        case float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(_value(item, f'{path}[{k}]', problems) for k, item in enumerate(value))}]"
        case Mapping():
            pairs = (f"{_key(key)} = {_value(item, f'{path}.{key}', problems)}" for key, item in value.items())
            return f"{{ {', '.join(pairs)} }}"
    what = "None; leave the key out" if value is None else type(value).__name__
    problems.append(f"design: {path}: found {what}; allowed: text, numbers, true or false, lists and dicts of these")
    return '""'


def _text(value: str) -> str:
    """A basic string (JSON's escapes are TOML's), or one of several lines."""
    quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if "\n" not in value:
        return quoted
    return '"""\n' + quoted[1:-1].replace("\\n", "\n") + '"""'
