#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `gen_dataset_info.py bin FOLDER INFO WIDTH HEIGHT`: the list of inputs that benchmark reads."""

import sys

from facepipe.cli import main

sys.exit(main(["vendor", "gen-dataset-info", *sys.argv[1:]]))
