"""Design files: TOML -> `Design` -> cells, with everything checked before anything runs."""

from simstudy.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
