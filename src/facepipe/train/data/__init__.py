# SPDX-License-Identifier: Apache-2.0
"""Sets of aligned faces with the person of each, in the forms that they come in."""
