"""Names for sites: scopes, counters, and data structures that know their own address."""

from ppl.contrib.autoname import named, scoping
from ppl.contrib.autoname.scoping import name_count, scope

__all__ = ["name_count", "named", "scope", "scoping"]
