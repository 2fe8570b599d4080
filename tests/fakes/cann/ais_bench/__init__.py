# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ais_bench; see __main__.py."""
