"""Image encoders of the published systems: one picture to its tokens."""
