"""The tests of a plugin run in a pytest of its own; see ``tests/contract/test_plugin.py``."""

collect_ignore = ["ppl_toy"]
