#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `fix_clip.py IN OUT`: the same as `facepipe fix bound_clip IN OUT`, and safe to run twice."""

import sys

from facepipe.cli import main

sys.exit(main(["fix", "bound_clip", *sys.argv[1:]]))
