# SPDX-License-Identifier: Apache-2.0
"""Other projects' surfaces: the vendor's commands and files, msame's command line, the Paddle port's records."""
