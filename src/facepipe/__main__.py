# SPDX-License-Identifier: Apache-2.0
"""`python -m facepipe` is `facepipe`."""

import sys

from facepipe.cli import main

if __name__ == "__main__":  # worker processes import this file and must not run it
    sys.exit(main())
