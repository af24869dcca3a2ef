//! One suite for every store, and what only the embedded one or the writer promises.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod operators;
mod provisioning;
mod sqlite;
mod suite;
mod writer;
