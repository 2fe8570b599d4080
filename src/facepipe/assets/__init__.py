# SPDX-License-Identifier: Apache-2.0
"""Where weights and data sets lie, and how they get there. The only package that uses the network."""
