"""Monte Carlo studies of multilevel structural equation modelling (MSEM).

Every command is one call: `run`, `analyse`, `plot`, `write_report`, `bias`, `plan`, `fit`, `fit_all`, ... What a call
returns has a short ``repr``, ``summary()``, a table in a notebook, ``to_frame()``, ``to_dict()``, and methods.

Names are loaded on first use, so that importing the package stays light. They are written once, in ``__init__.pyi``.
"""

from simstudy.lazy import attach

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach(__name__)
