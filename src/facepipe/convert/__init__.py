# SPDX-License-Identifier: Apache-2.0
"""Models from one form to the next."""
