"""Products of observed variables, ``x1:x2``: a column of its own, the product of the two, row by row.

That is lavaan's meaning. The product is a variable like others: it lives on the levels in whose blocks it stands, has
a mean and variance, and is decomposed into latent parts where it stands in both. Products of latent variables, of the
latent between part of a level-1 variable among them, are other models and are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from simstudy.errors import ModelError
from simstudy.model.tokens import Token

if TYPE_CHECKING:
    from simstudy.model.syntax import Statement
    from simstudy.model.twolevel import TwoLevelModel


def product_name(tokens: Sequence[Token], where: str = "model") -> str | None:
    """Name of the product that a term's words say, or None where they say something else.

    Raises
    ------
    ModelError
        For products of more than two variables, and of a variable with itself.
    """
    names = [token.text for token in tokens[::2]]
    colons = [token.text for token in tokens[1::2]]
    if len(names) < 2 or len(names) != len(colons) + 1 or set(colons) != {":"}:
        return None
    if any(token.kind not in ("name", "string") for token in tokens[::2]):
        return None
    text = ":".join(names)
    if len(names) > 2:
        raise ModelError(
            f"{where}: '{text}' multiplies {len(names)} variables; products of two are read, others must be columns "
            "of their own"
        )
    if names[0] == names[1]:
        raise ModelError(f"{where}: '{text}' is a square; put it into the data as a column of its own")
    return text


def factors_of(name: str) -> tuple[str, str] | None:
    """The two variables of a product's name, or None."""
    first, colon, second = name.partition(":")
    return (first, second) if colon and first and second and ":" not in second else None


def product_problems(statements: Iterable[Statement]) -> list[str]:
    """Products that no column can stand for."""
    statements = tuple(statements)
    latents = {s.lhs for s in statements if s.op == "=~"} | {s.random_slope for s in statements if s.random_slope}
    within = {name for s in statements if s.level == "within" for name in (s.lhs, s.rhs)}
    problems: dict[str, str] = {}
    for s in statements:
        for name in (s.lhs, s.rhs):
            parts = factors_of(name)
            if parts is None or s.level == "" or name in problems:
                continue
            where = f"model line {s.line}, column {s.column}: '{name}':"
            latent = [part for part in parts if part in latents]
            inner = [part for part in parts if part in within]
            if latent:
                problems[name] = (
                    f"{where} '{latent[0]}' is a latent variable, and products of latent variables are not supported; "
                    "what works are products of observed columns, and slopes that vary with a level-2 variable "
                    '(y ~ rv("s")*x in the within block, s ~ w in the between block)'
                )
            elif s.level == "between" and inner and name not in within:
                other = next((part for part in parts if part != inner[0]), "w")
                problems[name] = (
                    f"{where} '{inner[0]}' is a level-1 variable, so that in the between block this would be a product "
                    "with its latent between part, which is not supported; what works: the cross-level interaction "
                    f'y ~ rv("s")*{inner[0]} in the within block with s ~ {other} in the between block; '
                    f"'{name}' in the within block (the product of the columns, row by row); or a column of its own "
                    "with the product of cluster means"
                )
    return list(problems.values())


def product_notes(model: TwoLevelModel) -> tuple[str, ...]:
    """What each product of a model is."""
    notes = []
    for name in model.variables:
        parts = factors_of(name)
        if parts is None:
            continue
        first, second = parts
        text = f"{name} is the column {first} times the column {second}, row by row, not centred"
        if name in model.both:
            text += (
                "; it stands in both blocks, so its own between part (the cluster's mean of the product) is a "
                "variable, which is not the product of the between parts"
            )
        elif name in model.level2:
            text += f"; a level-2 variable, as {first} and {second} are"
        elif {first, second} & set(model.level2):
            outer = first if first in model.level2 else second
            text += (
                f"; a level-1 variable made of the level-2 variable {outer}: its coefficient says how much the level-1 "
                f"slope changes with {outer}, without a random slope"
            )
        else:
            text += "; a level-1 variable"
        notes.append(text)
    return tuple(notes)
