"""Tables and figures of a study's performance."""

from simstudy.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
