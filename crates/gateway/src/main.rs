//! The crosspoint binary.

fn main() {}
