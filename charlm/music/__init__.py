"""Music: tunes in ABC notation."""
