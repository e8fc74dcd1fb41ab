"""One thread for every library: the machines have few cores, and many tests run at once."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
