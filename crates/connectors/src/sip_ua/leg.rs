//! The state of one leg: an INVITE usage.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::Flow;
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{Request, Response};

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) phase: Phase,
    /// The flow of the INVITE.
    pub(super) flow: Flow,
    pub(super) dialog: Option<Dialog>,
    pub(super) user: Option<Arc<str>>,
    pub(super) trunk: Option<usize>,
    /// The peer's offer that was answered in a provisional, for the 200 to repeat.
    pub(super) early_answer: Option<String>,
    pub(super) offer: Offer,
    /// The description we sent last, for refreshing the session with it.
    pub(super) local_sdp: Option<String>,
    pub(super) session: SessionTimer,
    pub(super) peer: Peer,
    /// A REFER that is being carried out: its subscription lives in this dialog.
    pub(super) refer: bool,
    /// Our re-offer that ran into glare and waits.
    pub(super) delayed_offer: Option<(String, u32)>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// A called side's INVITE that we have to answer.
    Incoming(Box<Incoming>),
    /// Our INVITE is out.
    Calling(Box<Calling>),
    Confirmed,
}

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) key: ServerKey,
    pub(super) request: Request,
    pub(super) local_tag: String,
    pub(super) late_offer: bool,
    /// A reliable provisional that waits for its PRACK, and how often it went out.
    pub(super) reliable: Option<Reliable>,
    pub(super) next_rseq: u32,
    pub(super) queued: VecDeque<Response>,
}

#[derive(Debug)]
pub(super) struct Reliable {
    pub(super) rseq: u32,
    pub(super) response: Response,
    pub(super) interval: Duration,
    pub(super) tries: u32,
}

#[derive(Debug)]
pub(super) struct Calling {
    pub(super) key: ClientKey,
    pub(super) request: Request,
    /// By the To tag of a forking proxy's branches.
    pub(super) early: BTreeMap<Bytes, Dialog>,
    pub(super) has_media: bool,
    pub(super) rang: bool,
    pub(super) was_challenged: bool,
    /// The session interval was raised to what the peer insists on (RFC 4028 §7.4).
    pub(super) interval_raised: bool,
    pub(super) last_rseq: BTreeMap<Bytes, u32>,
}

/// Whose turn it is in offer and answer after the call is up (RFC 3261 §14, RFC 3264).
#[derive(Debug, Default)]
pub(super) enum Offer {
    #[default]
    None,
    /// Our re-INVITE or UPDATE is out.
    Ours { sdp: String, tries: u32 },
    /// The peer's re-INVITE or UPDATE waits for our answer. `late`: it wants our offer.
    Theirs { key: ServerKey, request: Box<Request>, late: bool },
    /// Our 200 carried an offer; the ACK brings the answer.
    AwaitingAck,
}

/// RFC 4028.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SessionTimer {
    pub(super) interval: Option<Duration>,
    pub(super) we_refresh: bool,
}

/// What the peer said it can do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Peer {
    pub(super) allows_update: bool,
    pub(super) trickles: bool,
}

/// The ACK we sent for a 2xx, to be sent again when the 2xx is.
#[derive(Debug, Clone)]
pub(super) struct SentAck {
    pub(super) tag: Bytes,
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
}

impl Leg {
    pub(super) fn new(phase: Phase, flow: Flow) -> Self {
        Self {
            phase,
            flow,
            dialog: None,
            user: None,
            trunk: None,
            early_answer: None,
            offer: Offer::None,
            local_sdp: None,
            session: SessionTimer::default(),
            peer: Peer::default(),
            refer: false,
            delayed_offer: None,
        }
    }
}
