#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `batch_utils.py --batch_size N --data_root_path D --save_root_path S`: one file for each image."""

import sys

from facepipe.cli import main

sys.exit(main(["vendor", "batch-utils", *sys.argv[1:]]))
