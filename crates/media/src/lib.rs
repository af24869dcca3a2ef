//! ICE, DTLS-SRTP, SDES, RTP and RTCP, and the relay that joins two legs.
//!
//! Start at [`shard::Shard`]: one machine that holds every leg of one media thread.

mod bandwidth;
pub mod capture;
pub mod clip;
pub mod codec;
pub mod control;
pub mod dtls;
pub mod dtmf;
pub mod emodel;
pub mod jitter;
pub mod negotiation;
pub mod noise;
pub mod playback;
pub mod recording;
pub mod rtcp;
pub mod rtp;
pub mod shard;
pub mod srtp;
pub mod tap;
pub mod turn;
pub mod video;
