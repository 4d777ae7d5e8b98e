"""The slow tests of tests/browser/test_accessibility.py, for the nightly run."""

from __future__ import annotations

import pytest
import test_accessibility


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_no_tab_has_a_serious_finding(new_lab, browser, width, theme):
    test_accessibility.test_no_tab_has_a_serious_finding(new_lab, browser, width, theme)
