"""What happens to a clip before it is learnt from: one look through it, noise and holes, classical flow."""
