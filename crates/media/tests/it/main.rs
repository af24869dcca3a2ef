//! A shard against peers.

mod browser;
mod browser_attacks;
mod browsers;
mod calls;
mod changes;
mod consent;
mod digits;
mod dtls;
mod dtls_records;
mod floods;
mod ice;
mod ice_restart;
mod leg_quality;
mod network;
mod numbering;
mod phone;
mod quality;
mod reports;
mod rtp_attacks;
mod sdes;
mod sound;
mod story;
mod stun;
mod world;
