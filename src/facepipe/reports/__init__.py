# SPDX-License-Identifier: Apache-2.0
"""Results as pictures and pages: faces drawn, curves, contact sheets, a run as one HTML page."""
