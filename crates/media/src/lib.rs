//! ICE, DTLS-SRTP, SDES, RTP and RTCP, and the relay that joins two legs.
//!
//! Start at [`shard::Shard`]: one machine that holds every leg of one media thread.

pub mod codec;
pub mod control;
pub mod dtmf;
pub mod emodel;
pub mod jitter;
pub mod negotiation;
pub mod playback;
pub mod rtcp;
pub mod rtp;
pub mod shard;
pub mod srtp;
pub mod turn;
