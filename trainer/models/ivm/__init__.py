"""IVM's published model, and the discriminator that judges the masked image."""
