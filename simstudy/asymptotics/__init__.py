"""Methods fed the population's moments: pseudo-true values, exact large-J bias, true and reported SEs, power."""

from simstudy.asymptotics.approximate import approximate, approximate_all
from simstudy.asymptotics.result import Asymptotics

__all__ = ["Asymptotics", "approximate", "approximate_all"]
