//! Where a PulseMesh process starts and stops.
