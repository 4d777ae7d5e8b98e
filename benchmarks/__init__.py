"""What the lab costs, beside what people would use instead. ``python -m benchmarks`` runs all of it."""

# Before torch, so that threads wait as they do in the lab.
import instruct_tune  # noqa: F401
