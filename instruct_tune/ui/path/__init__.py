"""The panel Learn: the path through the lab, beside the tabs."""
