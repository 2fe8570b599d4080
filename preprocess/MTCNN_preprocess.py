#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `MTCNN_preprocess.py --model Pnet --data_dir D --batch_size 1`: one MTCNN stage over a folder."""

import sys

from facepipe.cli import main

sys.exit(main(["vendor", "mtcnn-preprocess", *sys.argv[1:]]))
