#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The port's `train.py --network MobileFaceNet_128 --lr 0.1 --batch_size 512 ...`: `facepipe port train` with these."""

import sys

from facepipe.cli import main

sys.exit(main(["port", "train", *sys.argv[1:]]))
