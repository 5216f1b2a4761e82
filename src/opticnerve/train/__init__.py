"""Training in stages, from one CPU to many nodes."""
