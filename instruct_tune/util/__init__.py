"""What every stage uses and no stage owns: atomic writes, progress, memory, the device."""
