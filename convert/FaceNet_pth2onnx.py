#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `FaceNet_pth2onnx.py`: `facepipe export facenet.vggface2`, with --model as --checkpoint if it exists."""

import argparse
import sys
from pathlib import Path

from facepipe.cli import main

NAMES = {"vggface2": "facenet.vggface2", "casia-webface": "facenet.casia", "seeded": "facenet.seeded"}
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--pretrain", default="vggface2", choices=NAMES)
parser.add_argument("--model", default="", help="your weight file (default: the published one)")
parser.add_argument("--output_file", required=True, help="the ONNX file to write")
args = parser.parse_args()
own = ["--checkpoint", args.model] if Path(args.model).is_file() else []
if args.model and not own:
    print(f"{args.model}: not there; the published weights of {NAMES[args.pretrain]} are used", file=sys.stderr)
sys.exit(main(["export", NAMES[args.pretrain], "--output", args.output_file, *own]))
