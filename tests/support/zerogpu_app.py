"""``app.py`` on a ZeroGPU Space without a GPU: ``python -m support.zerogpu_app``, with the flags of ``app.py``."""

from support import zerogpu_space  # noqa: F401

import app

if __name__ == "__main__":
    app.end_process(app.main())
