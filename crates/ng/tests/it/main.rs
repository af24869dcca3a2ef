//! Stories of a proxy and its media server: the ng server over a real shard.

#![expect(clippy::unwrap_used, reason = "a test that fails should say where")]

mod calls;
mod fax;
mod forwarding;
mod interfaces;
mod mistakes;
mod orders;
mod pool;
mod recording;
mod repeats;
mod sections;
mod sounds;
mod subscriptions;
mod video;
mod world;
