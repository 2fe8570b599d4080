# SPDX-License-Identifier: Apache-2.0
"""Whole runs over many photographs, from files to files, to be resumed after a kill; and their scores."""
