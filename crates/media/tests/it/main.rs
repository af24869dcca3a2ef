//! A shard against peers.

mod browser;
mod calls;
mod ice_restart;
mod phone;
mod sound;
mod story;
mod world;
