"""Native distributions of numpy: there are none, the shared definitions serve."""
