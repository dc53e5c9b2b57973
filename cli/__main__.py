"""``python -m oarseg.cli``."""

import sys

from oarseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
