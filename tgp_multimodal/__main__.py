"""`python -m tgp_multimodal` is `tgp`."""

import sys

from tgp_multimodal.cli import main

if __name__ == "__main__":
    sys.exit(main())
