"""The edge where bytes and lines come in: proven whole, upright and clean, or refused with a reason."""
