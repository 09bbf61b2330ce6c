"""Model texts of other programs: recognised, and refused with the same model in this syntax."""

from __future__ import annotations

import shlex

from simstudy.errors import ModelError
from simstudy.model.lme4_text import looks_like_lme4, translate_lme4
from simstudy.model.mplus_text import looks_like_mplus, translate_mplus
from simstudy.model.translation import Beside, Translation


def is_foreign(text: str) -> bool:
    """Whether a text is Mplus input or a formula of lme4."""
    return looks_like_mplus(text) or looks_like_lme4(text)


def refuse_foreign(text: str, beside: Beside | None = None) -> None:
    """Raise a `ModelError` with a translation where the text is Mplus input or a formula of lme4.

    Parameters
    ----------
    text : str
    beside : Beside, optional
        What the text was given with.
    """
    beside = beside or Beside()
    if looks_like_mplus(text):
        raise ModelError(_message("this is Mplus input", translate_mplus(text), beside))
    if looks_like_lme4(text):
        raise ModelError(_message("this is a formula of lme4", translate_lme4(text, beside.constant), beside))


def _message(what: str, found: Translation, beside: Beside) -> str:
    model = "\n".join(f"    {line}" if line else "" for line in found.model.splitlines())
    notes = "".join(f"\n  {note}" for note in found.notes)
    cluster = beside.cluster or found.cluster or "CLUSTER"
    call = f"simstudy fit model.lav {shlex.quote(beside.data)} --cluster {shlex.quote(cluster)} {found.options}"
    return f"model: {what}; the same model is written here as\n\n{model}\n\n  and fitted by: {call.strip()}{notes}"
