#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `FaceNet_postprocess.py --crop_dir C --test_dir T --ONet_output_dir onet.json`: LFW accuracy."""

import sys

from facepipe.cli import main

sys.exit(main(["vendor", "facenet-postprocess", *sys.argv[1:]]))
