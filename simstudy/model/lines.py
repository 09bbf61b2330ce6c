"""Model text -> chunks, one a statement or header, each of whose characters knows its line and column.

Comments (``#`` or ``!``) end with the line; a line end or ``;`` ends a statement, unless it stops in the middle: after
an operator, before one, or within parentheses. Quoted texts are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from simstudy.model.tokens import QUOTES, Token, tokens_of

STATEMENT_OPERATORS = ("=~", "~~", "~", ":=", "==", "<", ">", "<=", ">=", "|", "<~", "~*~", "|~")
HEADERS = ("level", "group", "block", "class", "cluster")
_GO_ON_AFTER = ("+", "-", "*", "/", "^", "**", "(", ",", "?", "=", *STATEMENT_OPERATORS)
_GO_ON_BEFORE = ("+", "-", "*", "/", "^", "**", ")", ",", "?")


@dataclass(frozen=True)
class Chunk:
    """A statement's text, and where its pieces stand: (first character, line, column)."""

    text: str
    marks: tuple[tuple[int, int, int], ...]

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of a character."""
        start, line, column = next(mark for mark in reversed(self.marks) if mark[0] <= index)
        return line, column + index - start

    def where(self, index: int) -> str:
        """Where a character stands, for messages."""
        line, column = self.place(index)
        return f"model line {line}, column {column}"

    def join(self, other: Chunk) -> Chunk:
        """The statement continued."""
        shift = len(self.text) + 1
        return Chunk(f"{self.text} {other.text}", self.marks + tuple((a + shift, b, c) for a, b, c in other.marks))


def chunks_of(text: str) -> list[Chunk]:
    """Split a text into statements and headers."""
    chunks: list[Chunk] = []
    before: tuple[Token, ...] = ()
    for number, raw in enumerate(text.splitlines(), start=1):
        for piece, offset in _pieces(raw):
            body = piece.strip()
            if not body:
                continue
            column = offset + len(piece) - len(piece.lstrip()) + 1
            chunk = Chunk(body, ((0, number, column),))
            tokens = tokens_of(body)
            if chunks and not is_header(tokens) and _goes_on(before, tokens):
                chunk = chunks.pop().join(chunk)
                tokens = tokens_of(chunk.text)
            chunks.append(chunk)
            before = tokens
    return chunks


def is_header(tokens: tuple[Token, ...]) -> bool:
    """Whether a chunk is ``keyword: value`` and no statement."""
    if len(tokens) < 2 or tokens[0].text.lower() not in HEADERS or tokens[1].text != ":":
        return False
    return not any(token.kind == "op" and token.text in (*STATEMENT_OPERATORS, "+", "*") for token in tokens)


def _pieces(line: str) -> list[tuple[str, int]]:
    """A line without its comment, split at ``;``, with each piece's first column."""
    pieces: list[tuple[str, int]] = []
    begin, quote = 0, ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES and line.find(character, at + 1) >= 0:
            quote = character
        elif character in "#!":
            pieces.append((line[begin:at], begin))
            return pieces
        elif character == ";":
            pieces.append((line[begin:at], begin))
            begin = at + 1
    pieces.append((line[begin:], begin))
    return pieces


def _goes_on(before: tuple[Token, ...], tokens: tuple[Token, ...]) -> bool:
    """Whether what stands before has not ended, or what follows cannot begin a statement."""
    first, last = tokens[0], before[-1]
    if (first.kind == "op" and first.text in _GO_ON_BEFORE) or (last.kind == "op" and last.text in _GO_ON_AFTER):
        return True
    opened = sum((token.text == "(") - (token.text == ")") for token in before if token.kind == "op")
    return opened > 0 and not any(token.kind == "op" and token.text in STATEMENT_OPERATORS for token in tokens)
