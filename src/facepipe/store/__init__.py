# SPDX-License-Identifier: Apache-2.0
"""What lies on the disk: whole files, locks, a folder that is resumed, bins, and what a file was made from."""
