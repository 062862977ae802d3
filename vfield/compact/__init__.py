"""The compact field: keyframe colours, motion and shares as quantised, entropy-coded latents; see docs/theory/08-compact.md."""
