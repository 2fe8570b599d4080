# SPDX-License-Identifier: Apache-2.0
"""Speed of this checkout beside its peers. Not in the wheel: `facepipe bench MODEL` is."""
