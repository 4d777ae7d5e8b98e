"""Group rows into the forward passes of an optimizer step."""
