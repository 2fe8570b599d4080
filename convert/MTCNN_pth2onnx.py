#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `MTCNN_pth2onnx.py --model PNet --output_file F`: the same as `facepipe export pnet --output F`."""

import argparse
import sys

from facepipe.cli import main

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True, choices=["PNet", "RNet", "ONet"])
parser.add_argument("--output_file", required=True, help="the ONNX file to write")
args = parser.parse_args()
sys.exit(main(["export", args.model.lower(), "--output", args.output_file]))
