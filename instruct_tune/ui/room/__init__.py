"""The room's own pages: light enough for a phone, without gradio."""
