"""The parts of the page around its tabs, and the polling timer."""
