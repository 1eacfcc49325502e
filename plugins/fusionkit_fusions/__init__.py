"""Plain fusions: what any other fusion has to beat."""
