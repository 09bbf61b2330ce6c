"""The built-in measures, one record each, in the order of the rows of a performance table.

Sources: Morris, White & Crowther (2019, Statistics in Medicine 38:2074, Table 6) for the measures and their Monte Carlo
standard errors (MCSE); Price & Bonett (2001, Journal of Statistical Computation and Simulation 68:295) for medians;
Tukey & McLaughlin (1963, Sankhya A 25:331) for the trimmed mean; Wilson (1927, JASA 22:209) for rates at 0 or 1; Manski
(2003, Partial Identification of Probability Distributions) for the bounds.  theory B9 compares MCSEs with simulated
truth.  Aliases are names of rsimsum and SimDesign.
"""

from simstudy.performance.catalog import estimates, intervals, pairs, fits  # noqa: I001  (the order of the rows)

__all__ = ["estimates", "fits", "intervals", "pairs"]
