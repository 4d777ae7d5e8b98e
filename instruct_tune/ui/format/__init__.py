"""The Format tab."""
