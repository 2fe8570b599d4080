# SPDX-License-Identifier: Apache-2.0
"""The same work on many items: in this process, in several."""
