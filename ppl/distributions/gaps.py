"""Why a family lacks an operation. A family names what it lacks in ``gaps``: the error, the tests and the support table read it.

>>> from ppl import distributions as dist
>>> dist.Dirichlet.gaps["cdf"]
'a vector has no distribution function of one number'
"""

OPERATIONS = ("sample", "rsample", "log_prob", "mean", "variance", "cdf", "icdf", "entropy", "enumerate_support")

NO_CLOSED_FORM = "it has no closed form"
NO_SAMPLER = "no sampler is known that draws exactly"
NOT_PATHWISE = "draws have no pathwise gradient"
NOT_FINITE = "the support is not a finite set"
NOT_ORDERED = "categories have no order"
INVERSE_FUNCTION = "its inverse special function is not part of every library"

# What families of a kind lack together, to be spread into ``gaps``.
CONTINUOUS = {"enumerate_support": NOT_FINITE}
COUNTS = {"rsample": NOT_PATHWISE, "icdf": NO_CLOSED_FORM}
VECTOR = {
    "cdf": "a vector has no distribution function of one number",
    "icdf": "a vector has no quantile function of one number",
}
