"""Rows become the forward passes of an optimizer step."""
