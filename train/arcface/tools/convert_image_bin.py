#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The port's `convert_image_bin.py --image_path A --bin_path B --mode image2bin|bin2image`: from A to B, as its text.

Its code reads B in the mode bin2image; the folder with records is the one that is read, and both are printed.
"""

import argparse
import sys

from facepipe.cli import main

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--image_path", required=True)
parser.add_argument("--bin_path", required=True)
parser.add_argument("--mode", default="image2bin", choices=["image2bin", "bin2image"])
args = parser.parse_args()
either = ["--either-way"] if args.mode == "bin2image" else []
sys.exit(main([args.mode, args.image_path, args.bin_path, *either]))
