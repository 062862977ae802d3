"""The compact field: colours, motion and shares of the keyframes as quantised, entropy-coded latents.

docs/theory/08-compact.md has the whole of it.
"""
