# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the compiled half of ais_bench: only its presence is looked at."""
