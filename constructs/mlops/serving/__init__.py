"""A model in a stage, and the controller that releases it."""
