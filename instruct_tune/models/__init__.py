"""The base model and its LoRA adapters."""
