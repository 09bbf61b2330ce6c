"""The public Python calls: everything that a command does.

`verbs` has the calls that return results (`results`); the other modules do the work. The names at the top of the
package (`simstudy/__init__.pyi`) are taken from here; what is used less often stays here. Names imported ``as``
themselves are for the commands.
"""

from simstudy.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
