"""Make this process the main process of a ZeroGPU Space without a GPU; import it before anything else.

The package ``spaces`` is the real one. Its workers find no GPU and compute on the CPU.
"""

import os

os.environ |= {"SPACES_ZERO_GPU": "1", "OMP_NUM_THREADS": "1"}
assert os.environ["SPACES_ZERO_DEVICE_API_URL"]

import torch  # noqa: E402

CUDA_INITIALISED = []
torch.version.cuda = "13.0"
torch._C._cuda_init = lambda: None
# Picklable, and False.
torch.cuda._is_in_bad_fork = bool

import spaces  # noqa: E402, F401

# As spaces leaves it in this process: it raises, and the request is noted.
_refuse = torch._C._cuda_init


def _noted():
    CUDA_INITIALISED.append(os.getpid())
    _refuse()


torch._C._cuda_init = _noted
from spaces.zero.wrappers import torch as patched  # noqa: E402

for name in ("init", "move"):
    setattr(patched, name, lambda *args, **kwargs: None)
patched.size = lambda: 0
