//! Placeholder until the crate's first code lands.
