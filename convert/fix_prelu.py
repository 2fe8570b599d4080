#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The vendor's `fix_prelu.py IN OUT`: the same as `facepipe fix match_prelu_slope IN OUT`, and safe to run twice."""

import sys

from facepipe.cli import main

sys.exit(main(["fix", "match_prelu_slope", *sys.argv[1:]]))
