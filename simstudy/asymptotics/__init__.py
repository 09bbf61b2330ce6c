"""Methods fed the population's moments: pseudo-true values, exact large-J bias, true and reported SEs, power."""

from simstudy.asymptotics.approximate import approximate, approximate_all
from simstudy.asymptotics.large_samples import by_large_samples
from simstudy.asymptotics.result import Asymptotics, SampleErrors, SeLaw

__all__ = ["Asymptotics", "SampleErrors", "SeLaw", "approximate", "approximate_all", "by_large_samples"]
