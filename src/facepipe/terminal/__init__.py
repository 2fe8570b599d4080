# SPDX-License-Identifier: Apache-2.0
"""What every command shares towards the person at the terminal: words read, results and notes told, stops obeyed."""
