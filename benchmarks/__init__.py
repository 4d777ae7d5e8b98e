"""Benchmarks of the lab against the usual alternatives. ``python -m benchmarks`` runs all of them."""

# Before torch: it sets how threads wait, as in the lab.
import instruct_tune  # noqa: F401
