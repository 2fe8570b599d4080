#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The port's `valid.py --network MobileFaceNet_128 --checkpoint emore_arcface`: `facepipe port valid` with these."""

import sys

from facepipe.cli import main

sys.exit(main(["port", "valid", *sys.argv[1:]]))
