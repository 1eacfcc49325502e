"""An example of a third-party package: one component of each kind."""
