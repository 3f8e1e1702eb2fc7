"""Module wrappers: numpy has no neural network library, so nothing is native here."""
