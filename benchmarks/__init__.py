"""What the lab costs, beside what people would use instead. ``python -m benchmarks`` runs all of it."""
