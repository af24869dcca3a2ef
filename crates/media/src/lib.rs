//! ICE, DTLS-SRTP, SDES, RTP and RTCP, and the relay that joins two legs.
//!
//! Start at [`shard::Shard`]: one machine that holds every leg of one media thread.

pub mod codec;
pub mod rtp;
pub mod srtp;
