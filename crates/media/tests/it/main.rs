//! A shard against peers.

mod ice_restart;
