# SPDX-License-Identifier: Apache-2.0
"""Files, shards and manifests. Knows arrays and keys; knows no faces."""
