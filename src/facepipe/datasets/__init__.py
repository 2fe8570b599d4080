# SPDX-License-Identifier: Apache-2.0
"""Pictures, pairs and sets as they lie on disk."""
