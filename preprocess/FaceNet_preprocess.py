#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `FaceNet_preprocess.py --crop_dir C --save_dir S --batch_size 1`: crops to .bin batches."""

import sys

from facepipe.cli import main

sys.exit(main(["vendor", "facenet-preprocess", *sys.argv[1:]]))
