#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The port's `export_inference_model.py --network N --output D --pretrained_model F`: `facepipe port export`."""

import sys

from facepipe.cli import main

sys.exit(main(["port", "export", *sys.argv[1:]]))
