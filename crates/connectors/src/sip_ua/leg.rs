//! The state of one leg: an INVITE usage.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crosspoint_base::{ConnectionId, Flow};
use crosspoint_sdp::Session;
use crosspoint_sip::dialog::Dialog;
use crosspoint_sip::endpoint::{ClientKey, ServerKey};
use crosspoint_sip::{HeaderName, Request, Response, StatusCode};

use super::challenge::Account;
use super::device::Device;
use super::transfer::Referral;
use super::trunk::Hop;

/// Call-ID and our tag.
pub(super) type DialogKey = (Bytes, Bytes);

/// Call-ID, From tag and CSeq of an INVITE.
pub(super) type MergeKey = (Bytes, Bytes, u32);

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) phase: Phase,
    /// The flow of the INVITE.
    pub(super) flow: Flow,
    /// Call-ID and our tag.
    pub(super) key: DialogKey,
    /// By which a second copy of the INVITE is known.
    pub(super) merge_key: Option<MergeKey>,
    /// The INVITE was ours, and so is the Call-ID.
    pub(super) we_called: bool,
    /// The INVITE whose 2xx of ours waits for its ACK, and its CSeq.
    pub(super) awaiting_ack: Option<(ServerKey, u32)>,
    pub(super) dialog: Option<Dialog>,
    pub(super) user: Option<Arc<str>>,
    pub(super) device: Option<Device>,
    /// Who answers its challenges, when it goes over a trunk or a sign-in of ours.
    pub(super) account: Option<Account>,
    /// The peer's offer that was answered in a provisional, for the 200 to repeat.
    pub(super) early_answer: Option<String>,
    pub(super) offer: Offer,
    /// The description we sent last, for refreshing the session with it.
    pub(super) local_sdp: Option<String>,
    pub(super) session: SessionTimer,
    pub(super) peer: Peer,
    /// A REFER that is being carried out, and how many there were.
    pub(super) referral: Option<Referral>,
    pub(super) referrals: u32,
    /// Of the last reliable provisional of our re-INVITE.
    pub(super) reoffer_rseq: Option<u32>,
    /// Our re-offer that ran into glare and waits.
    pub(super) delayed_offer: Option<(String, u32)>,
    /// The connection it is reached over.
    pub(super) attached: Option<ConnectionId>,
    /// Its connection broke: the requests that wait for its device to come back.
    pub(super) away: Option<Vec<ClientKey>>,
    /// Our last INVITE that was answered.
    pub(super) settled: Option<ClientKey>,
    /// The response when nobody vouches for its caller.
    pub(super) unproved: Option<StatusCode>,
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
    /// A reliable provisional that waits for its PRACK.
    pub(super) reliable: Option<Reliable>,
    pub(super) next_rseq: u32,
    /// The peer has our answer by a reliable provisional: another offer may follow.
    pub(super) answer_acknowledged: bool,
    pub(super) queued: VecDeque<Response>,
}

#[derive(Debug)]
pub(super) struct Reliable {
    pub(super) rseq: u32,
    pub(super) response: Response,
    pub(super) interval: Duration,
    pub(super) give_up: Instant,
}

#[derive(Debug)]
pub(super) struct Calling {
    pub(super) key: ClientKey,
    pub(super) request: Request,
    /// By the To tag of a forking proxy's branches.
    pub(super) early: BTreeMap<Bytes, Box<Early>>,
    pub(super) media: Option<EarlyMedia>,
    pub(super) rang: bool,
    /// It was sent again to a browser that came back.
    pub(super) repeated: bool,
    /// How often it was challenged.
    pub(super) challenges: u32,
    /// Other destinations of the trunk, for when this one fails.
    pub(super) spare: Vec<Hop>,
    /// How often the session interval was raised to what the peer insists on (RFC 4028 §7.3).
    pub(super) raises: u32,
}

/// One branch of a call that we make, before the answer.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) dialog: Dialog,
    /// Of its last reliable provisional.
    pub(super) rseq: Option<u32>,
}

/// The description that came before the answer.
#[derive(Debug)]
pub(super) struct EarlyMedia {
    /// Of the branch it came from.
    pub(super) tag: Bytes,
    pub(super) session: Session,
    /// It came reliably, so it is the answer to our offer (RFC 3262 §5).
    pub(super) reliable: bool,
}

/// Whose turn it is in offer and answer after the call is up (RFC 3261 §14, RFC 3264).
#[derive(Debug, Default)]
pub(super) enum Offer {
    #[default]
    None,
    /// Our re-INVITE or UPDATE is out.
    Ours(OurOffer),
    /// The peer's re-INVITE or UPDATE waits for our answer. `late`: it wants our offer.
    Theirs { key: ServerKey, request: Box<Request>, late: bool },
    /// Our 200 carried an offer; the ACK brings the answer.
    AwaitingAck,
}

/// A re-INVITE of ours that waits for its answer.
#[derive(Debug)]
pub(super) struct OurOffer {
    pub(super) key: ClientKey,
    /// For its ACK.
    pub(super) credentials: Vec<(HeaderName, Bytes)>,
    pub(super) sdp: String,
    pub(super) tries: u32,
    /// It only refreshes the session: the call knows nothing of it.
    pub(super) is_refresh: bool,
}

/// RFC 4028.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SessionTimer {
    pub(super) interval: Option<Duration>,
    pub(super) we_refresh: bool,
    /// The least interval that somebody on the way insists on.
    pub(super) least: u32,
    /// The session has run out, but for the time that a BYE needs.
    pub(super) give_up: Option<Instant>,
}

/// What the peer said it can do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Peer {
    pub(super) allows_update: bool,
    pub(super) trickles: bool,
    /// It takes digits as `application/dtmf` only.
    pub(super) plain_digits: bool,
    /// It does not take INFO that asks for a whole picture (RFC 5168).
    pub(super) refuses_media_control: bool,
    /// It drops what is open when its connection breaks.
    pub(super) forgets_transactions: bool,
}

/// The ACK we sent for a 2xx, to be sent again when the 2xx is.
#[derive(Debug, Clone)]
pub(super) struct SentAck {
    pub(super) tag: Bytes,
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
}

impl Leg {
    pub(super) fn new(phase: Phase, flow: Flow, key: DialogKey) -> Self {
        Self {
            we_called: matches!(phase, Phase::Calling(_)),
            phase,
            flow,
            key,
            awaiting_ack: None,
            merge_key: None,
            dialog: None,
            user: None,
            device: None,
            account: None,
            early_answer: None,
            offer: Offer::None,
            local_sdp: None,
            session: SessionTimer::default(),
            peer: Peer::default(),
            referral: None,
            referrals: 0,
            reoffer_rseq: None,
            delayed_offer: None,
            attached: None,
            away: None,
            settled: None,
            unproved: None,
        }
    }

    /// The dialog with the peer of this tag: before the answer a call that we make has one with
    /// each branch.
    pub(super) fn dialog_with(&mut self, tag: &Bytes) -> Option<&mut Dialog> {
        let dialog = match &mut self.phase {
            Phase::Calling(calling) => calling.early.get_mut(tag).map(|early| &mut early.dialog),
            Phase::Incoming(_) | Phase::Confirmed => self.dialog.as_mut(),
        };
        dialog.filter(|d| d.remote_tag() == tag)
    }

    /// The first offer was answered although the call is not: another one may be made
    /// (RFC 3311 §5.1).
    pub(super) fn may_change_early(&self, tag: &Bytes) -> bool {
        match &self.phase {
            Phase::Incoming(incoming) => incoming.answer_acknowledged,
            Phase::Calling(calling) => {
                calling.media.as_ref().is_some_and(|m| m.reliable && m.tag == *tag)
            }
            Phase::Confirmed => true,
        }
    }

    /// What is sent from now on takes this flow.
    pub(super) fn follow(&mut self, flow: Flow) {
        self.flow = flow;
        if let Phase::Calling(calling) = &mut self.phase {
            calling.early.values_mut().for_each(|early| early.dialog.follow(flow));
        }
        if let Some(dialog) = &mut self.dialog {
            dialog.follow(flow);
        }
    }

    /// Whether a browser has gone on from this connection to a newer one, as their numbers tell:
    /// what was said over it came late.
    pub(super) fn is_left(&self, flow: Flow) -> bool {
        self.flow.transport.is_websocket()
            && flow.connection.is_some()
            && flow.connection < self.attached
    }

    /// Where a peer is that was heard over this flow.
    pub(super) fn flow_now(&self, heard: Flow) -> Flow {
        if self.is_left(heard) { self.flow } else { heard }
    }

    /// Where the next request to the peer goes.
    pub(super) fn flow_of_requests(&self) -> Flow {
        self.dialog.as_ref().map_or(self.flow, Dialog::next_hop)
    }

    /// Nothing is open, so that we may offer.
    pub(super) fn is_free_to_offer(&self) -> bool {
        matches!(self.offer, Offer::None) && matches!(self.phase, Phase::Confirmed)
    }

    /// The peer's open offer, if there is one; an exchange of ours is left alone.
    pub(super) fn take_their_offer(&mut self) -> Option<(ServerKey, Box<Request>, bool)> {
        match std::mem::take(&mut self.offer) {
            Offer::Theirs { key, request, late } => Some((key, request, late)),
            other => {
                self.offer = other;
                None
            }
        }
    }

    /// Our open offer, if there is one.
    pub(super) fn take_our_offer(&mut self) -> Option<OurOffer> {
        match std::mem::take(&mut self.offer) {
            Offer::Ours(ours) => Some(ours),
            other => {
                self.offer = other;
                None
            }
        }
    }
}
