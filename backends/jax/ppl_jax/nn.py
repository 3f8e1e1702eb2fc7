"""Native module wrappers of the jax backend: there are none yet."""
