"""Locate, check and load pretrained weights and tokenizers."""
