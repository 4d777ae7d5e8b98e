"""``app.py`` with made-up results of the experiments: ``python -m support.experiments_app``."""

from support.made_results import made_results

import app
from instruct_tune.ui.experiments import tab

if __name__ == "__main__":
    tab.recorded = lambda: made_results(0.5)
    app.end_process(app.main())
