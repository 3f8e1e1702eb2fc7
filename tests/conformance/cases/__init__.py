"""The table of distributions: one row gives a family the whole of ``test_distributions`` and ``test_generated``."""

from cases import continuous, discrete, estimators, foundation, multivariate, positive, relaxed, structured

TABLES = (foundation, continuous, positive, discrete, relaxed, multivariate, estimators, structured)
CASES = [case for table in TABLES for case in table.CASES]
