"""A base model and its LoRA adapters."""
