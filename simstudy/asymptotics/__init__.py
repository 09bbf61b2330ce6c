"""Methods fed the population's moments: pseudo-true values, exact large-J bias, true and reported SEs, power."""

from simstudy.asymptotics.approximate import approximate, approximate_all
from simstudy.asymptotics.result import Asymptotics, SeLaw

__all__ = ["Asymptotics", "SeLaw", "approximate", "approximate_all"]
