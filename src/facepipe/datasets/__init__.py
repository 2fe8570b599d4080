# SPDX-License-Identifier: Apache-2.0
"""Photographs and verification sets as they lie on disk, keyed by POSIX paths relative to their root."""
