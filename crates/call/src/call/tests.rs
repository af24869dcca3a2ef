//! Stories of one call, told by its inputs and outputs.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use super::*;
use crate::router::{Outcome, Target};
use crate::{
    Described, Digit, MediaPath, MediaRefusal, Party, ReofferFailure, Scope, SrtpPolicy,
    TransferTarget,
};
use crosspoint_base::{BindingId, Rng};
use crosspoint_sdp::Session;

const A: LegId = LegId(1);
const B: LegId = LegId(2);
const C: LegId = LegId(3);
const D: LegId = LegId(4);

/// A call with a media control that agrees to everything at once, and its connectors' commands.
struct Story {
    now: Instant,
    call: Call,
    commands: Vec<(LegId, String)>,
    media: Vec<String>,
    routes: Vec<RouteRequest>,
    record: Option<CallRecord>,
    far_side_concerned: bool,
    refuse: Option<(LegId, MediaRefusal)>,
    telephone_event: bool,
}

fn description() -> Session {
    Session::parse(b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n")
        .expect("a plain description parses")
}

impl Story {
    fn begin() -> Self {
        Self::with_offer(Some(description()))
    }

    fn with_offer(description: Option<Session>) -> Self {
        let now = Instant::now();
        let offer = IncomingOffer {
            from: Identity { user: Some("alice".into()), ..Identity::default() },
            to: Private("bob".to_owned()),
            description,
            profile: Profile::WebRtc,
            trunk: None,
            gcid: None,
            trickle: false,
            scope: Scope::Everywhere,
            path: MediaPath::Anchored,
            replaces: None,
        };
        let gcid = Gcid::generate(&mut Rng::from_u64(1));
        let mut story = Self {
            now,
            call: Call::new(now, CallId(1), gcid, A, offer),
            commands: Vec::new(),
            media: Vec::new(),
            routes: Vec::new(),
            record: None,
            far_side_concerned: false,
            refuse: None,
            telephone_event: true,
        };
        story.drain();
        story
    }

    /// Rings these legs.
    fn forked(mut self, legs: &[LegId]) -> Self {
        self.route_to(legs);
        self
    }

    fn route_to(&mut self, legs: &[LegId]) {
        let target = |id: &LegId| Target {
            reach: Reach::Binding(BindingId(id.0)),
            profile: Profile::Rtp(SrtpPolicy::Off),
        };
        let outcome = Outcome::Fork(legs.iter().map(target).collect());
        self.decide(outcome, legs.to_vec());
    }

    fn decide(&mut self, outcome: Outcome, legs: Vec<LegId>) {
        let decision = Decision {
            outcome,
            ring_timeout: Duration::from_secs(60),
            called_user: Some("bob".into()),
            steps: vec![],
        };
        self.input(Input::Routed { decision, legs });
    }

    fn answered() -> Self {
        let mut story = Self::begin().forked(&[B]);
        story.leg(B, LegEvent::Answer(Some(description())));
        story.input(Input::Media(MediaNotice::Connected { leg: A }));
        story.commands.clear();
        story.media.clear();
        story
    }

    fn leg(&mut self, leg: LegId, event: LegEvent) {
        self.input(Input::Leg(leg, event));
    }

    fn input(&mut self, input: Input) {
        self.call.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.call.poll_output() {
                Output::Command(leg, command) => self.commanded(leg, command),
                Output::Media(request) => self.requested(request),
                Output::Route(request) => self.routes.push(request),
                Output::Answered | Output::Changed => {}
                Output::Done(record) => self.record = Some(*record),
                Output::Timeout(_) => return,
            }
        }
    }

    fn commanded(&mut self, leg: LegId, command: LegCommand) {
        let text = format!("{command:?}");
        let name = text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
        match command {
            LegCommand::End(cause) => {
                self.commands.push((leg, format!("End {cause}")));
                self.call.handle_input(self.now, Input::Leg(leg, LegEvent::Ended(cause)));
            }
            LegCommand::TransferProgress(progress) => {
                self.commands.push((leg, format!("{progress:?}")));
            }
            _ => self.commands.push((leg, name)),
        }
    }

    fn requested(&mut self, request: MediaRequest) {
        let notice = match &request {
            MediaRequest::Describe { leg, .. } | MediaRequest::Accept { leg, .. }
                if self.refuse.is_some_and(|(refused, _)| refused == *leg) =>
            {
                let (leg, refusal) = self.refuse.take().expect("just matched");
                Some(MediaNotice::Refused { leg, refusal })
            }
            MediaRequest::Describe { leg, .. } => {
                Some(MediaNotice::Described { leg: *leg, description: description() })
            }
            MediaRequest::Accept { leg, .. } => Some(MediaNotice::Accepted {
                leg: *leg,
                accepted: Described {
                    far_side_concerned: self.far_side_concerned,
                    on_hold: self.far_side_concerned,
                    telephone_event: self.telephone_event,
                },
            }),
            _ => None,
        };
        match &request {
            MediaRequest::Bridge { a, b } => self.media.push(format!("bridge {a} {b}")),
            MediaRequest::Close { leg } => self.media.push(format!("close {leg}")),
            MediaRequest::SendDtmf { leg, digit, .. } => {
                self.media.push(format!("digit {} {leg}", digit.as_char()));
            }
            MediaRequest::Play { leg, playback } => {
                self.media.push(format!("play {playback:?} {leg}"));
            }
            MediaRequest::Rollback { leg } => self.media.push(format!("rollback {leg}")),
            _ => {}
        }
        if let Some(notice) = notice {
            self.call.handle_input(self.now, Input::Media(notice));
        }
    }

    fn heard(&self, leg: LegId) -> Vec<&str> {
        self.commands.iter().filter(|(l, _)| *l == leg).map(|(_, c)| c.as_str()).collect()
    }

    fn ended(&self) -> Option<(Party, Cause)> {
        self.record.as_ref().map(|r| (r.ended.by, r.ended.cause))
    }

    fn is_over(&self) -> bool {
        let closed = self.media.iter().filter(|m| m.starts_with("close")).count();
        self.record.is_some() && closed >= 1
    }
}

#[test]
fn a_plain_call_rings_answers_and_ends_once_on_both_sides() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::Ringing);
    story.leg(B, LegEvent::Ringing);
    story.leg(B, LegEvent::Answer(Some(description())));
    assert_eq!(story.heard(B), ["Offer"]);
    assert_eq!(story.heard(A), ["Ringing", "Answer"]);
    assert!(story.media.contains(&"bridge leg-1 leg-2".to_owned()));
    story.leg(B, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.heard(A).last(), Some(&"End normal"));
    assert_eq!(story.ended(), Some((Party::Back, Cause::Normal)));
    assert!(story.is_over());
}

#[test]
fn the_first_answer_wins_and_the_others_learn_it() {
    let mut story = Story::begin().forked(&[B, C]);
    story.leg(C, LegEvent::Answer(Some(description())));
    assert_eq!(story.heard(B), ["Offer", "End answered_elsewhere"]);
    assert_eq!(story.heard(A), ["Answer"]);
    assert!(story.record.is_none());
}

#[test]
fn a_fork_fails_with_the_reason_that_tells_most() {
    let mut story = Story::begin().forked(&[B, C]);
    story.leg(B, LegEvent::Ended(Cause::Busy));
    assert!(story.record.is_none());
    story.leg(C, LegEvent::Ended(Cause::SignalingLost));
    assert_eq!(story.ended(), Some((Party::Back, Cause::Busy)));
    assert_eq!(story.heard(A), ["End busy"]);
}

#[test]
fn a_decline_on_one_device_stops_the_others() {
    let mut story = Story::begin().forked(&[B, C]);
    story.leg(B, LegEvent::Ended(Cause::Declined));
    assert_eq!(story.heard(C).last(), Some(&"End declined"));
    assert_eq!(story.ended(), Some((Party::Back, Cause::Declined)));
}

#[test]
fn a_caller_who_gives_up_stops_every_branch() {
    let mut story = Story::begin().forked(&[B, C]);
    story.leg(A, LegEvent::Ended(Cause::Cancelled));
    assert_eq!(story.heard(B).last(), Some(&"End cancelled"));
    assert_eq!(story.heard(C).last(), Some(&"End cancelled"));
    assert_eq!(story.ended(), Some((Party::Front, Cause::Cancelled)));
}

#[test]
fn a_refused_route_ends_the_call_with_its_cause() {
    let mut story = Story::begin();
    story.decide(Outcome::Refused(Cause::NotFound), vec![]);
    assert_eq!(story.heard(A), ["End not_found"]);
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::NotFound)));
}

#[test]
fn early_media_reaches_the_caller_and_the_answer_repeats_it() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::EarlyMedia(description()));
    assert_eq!(story.heard(A), ["EarlyMedia"]);
    story.leg(B, LegEvent::Answer(None));
    assert_eq!(story.heard(A), ["EarlyMedia", "Answer"]);
}

#[test]
fn an_answer_without_any_description_ends_the_call() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::Answer(None));
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::BadDescription)));
}

#[test]
fn a_late_offer_is_answered_with_our_offer_and_confirmed_with_the_answer() {
    let mut story = Story::with_offer(None).forked(&[B]);
    story.leg(B, LegEvent::EarlyMedia(description()));
    assert_eq!(story.heard(A), Vec::<&str>::new());
    story.leg(B, LegEvent::Answer(Some(description())));
    assert_eq!(story.heard(A), ["Answer"]);
    story.far_side_concerned = true;
    story.leg(A, LegEvent::Confirm(Some(description())));
    assert_eq!(story.heard(B), ["Offer", "Reoffer"]);
}

#[test]
fn hold_goes_through_to_the_far_side_and_an_ice_restart_does_not() {
    let mut story = Story::answered();
    story.leg(A, LegEvent::Reoffer(Some(description())));
    assert_eq!(story.heard(A), ["Reanswer"]);
    assert!(story.heard(B).is_empty());
    story.far_side_concerned = true;
    story.leg(A, LegEvent::Reoffer(Some(description())));
    assert_eq!(story.heard(B), ["Reoffer"]);
    assert_eq!(story.heard(A), ["Reanswer"]);
    story.leg(B, LegEvent::Reanswer(description()));
    assert_eq!(story.heard(A), ["Reanswer", "Reanswer"]);
}

#[test]
fn a_far_side_that_refuses_a_change_keeps_its_media_and_the_origin_is_answered() {
    let mut story = Story::answered();
    story.far_side_concerned = true;
    story.leg(A, LegEvent::Reoffer(Some(description())));
    story.leg(B, LegEvent::ReofferFailed(ReofferFailure::Refused));
    assert_eq!(story.heard(A), ["Reanswer"]);
    assert_eq!(story.media, ["rollback leg-2"]);
}

#[test]
fn a_bad_reoffer_is_refused_and_the_call_lives() {
    let mut story = Story::answered();
    story.refuse = Some((A, MediaRefusal::NoCommonCodec));
    story.leg(A, LegEvent::Reoffer(Some(description())));
    assert_eq!(story.heard(A), ["RejectReoffer"]);
    assert!(story.record.is_none());
}

#[test]
fn digits_travel_in_media_where_they_can_and_by_signaling_where_not() {
    let one = Digit::new('1').expect("a key");
    let length = Duration::from_millis(160);
    let mut story = Story::answered();
    story.leg(A, LegEvent::Dtmf(one, length));
    assert_eq!(story.media, ["digit 1 leg-2"]);
    let relayed = MediaNotice::Dtmf { leg: A, digit: one, duration: length, relayed: true };
    story.input(Input::Media(relayed));
    assert_eq!(story.heard(B), ["DtmfShown", "DtmfShown"], "it is in the media");
    let heard = MediaNotice::Dtmf { leg: A, digit: one, duration: length, relayed: false };
    story.input(Input::Media(heard));
    assert_eq!(story.heard(B).last(), Some(&"Dtmf"));
}

#[test]
fn the_record_names_the_trunk_that_a_call_left_over() {
    let mut story = Story::begin();
    let reach = Reach::Trunk { name: "carrier".into(), number: Private("+4930".to_owned()) };
    let target = Target { reach, profile: Profile::Rtp(SrtpPolicy::Off) };
    story.decide(Outcome::Fork(vec![target]), vec![B]);
    story.leg(B, LegEvent::Ended(Cause::Busy));
    assert_eq!(story.record.and_then(|r| r.trunk).as_deref(), Some("carrier"));
}

#[test]
fn lost_media_ends_the_call_by_our_hand() {
    let mut story = Story::answered();
    story.input(Input::Media(MediaNotice::Lost { leg: A, by_peer: false }));
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::MediaLost)));
    assert_eq!(story.heard(B), ["End media_lost"]);
}

/// A browser whose certificate is wrong: its media failed, it was not lost.
#[test]
fn media_that_is_lost_before_it_came_up_has_failed() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::Answer(Some(description())));
    story.input(Input::Media(MediaNotice::Lost { leg: A, by_peer: false }));
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::MediaFailed)));
}

#[test]
fn media_that_never_comes_up_ends_the_call() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::Answer(Some(description())));
    story.now += MEDIA_SETUP;
    story.input(Input::Timeout);
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::MediaFailed)));
}

#[test]
fn a_built_in_number_plays_to_the_caller_and_hangs_up_after_an_announcement() {
    let mut story = Story::begin();
    story.decide(Outcome::Builtin(Playback::Announcement), vec![]);
    assert_eq!(story.heard(A), ["Answer"]);
    story.input(Input::Media(MediaNotice::PlaybackEnded { leg: A }));
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::Normal)));
}

fn transferring(by: LegId) -> Story {
    let mut story = Story::answered();
    story.leg(by, LegEvent::Transfer(TransferTarget::Blind(Private("carol".to_owned()))));
    story.route_to(&[D]);
    story
}

#[test]
fn a_blind_transfer_joins_the_party_that_remains() {
    let mut story = transferring(B);
    assert_eq!(story.routes[1].user.as_deref(), Some("bob"));
    story.leg(D, LegEvent::Ringing);
    story.leg(D, LegEvent::Answer(Some(description())));
    assert_eq!(story.heard(B), ["Trying", "Ringing", "Done", "End transferred"]);
    assert!(story.media.contains(&"bridge leg-1 leg-4".to_owned()));
    story.leg(D, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.heard(A), ["End normal"]);
    assert!(story.record.is_some());
}

#[test]
fn a_failed_transfer_leaves_the_old_call_up() {
    let mut story = transferring(A);
    story.leg(D, LegEvent::Ended(Cause::Busy));
    assert_eq!(story.heard(A), ["Trying", "Failed(Busy)"]);
    assert!(story.record.is_none());
    story.leg(A, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.heard(B), ["End normal"]);
}

#[test]
fn a_transferor_who_hangs_up_at_once_does_not_stop_the_transfer() {
    let mut story = transferring(B);
    story.leg(B, LegEvent::Ended(Cause::Normal));
    assert!(story.record.is_none());
    story.leg(D, LegEvent::Answer(Some(description())));
    assert!(story.media.contains(&"bridge leg-1 leg-4".to_owned()));
    story.leg(A, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.heard(D).last(), Some(&"End normal"));
}

#[test]
fn a_remaining_party_that_hangs_up_stops_the_transfer() {
    let mut story = transferring(B);
    story.leg(A, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.heard(D).last(), Some(&"End normal"));
    assert!(story.is_over());
}

#[test]
fn shutdown_ends_every_leg_once() {
    let mut story = Story::answered();
    story.input(Input::End(Cause::Shutdown));
    story.input(Input::End(Cause::Internal));
    assert_eq!(story.ended(), Some((Party::Gateway, Cause::Shutdown)));
    assert_eq!((story.heard(A), story.heard(B)), (vec!["End shutdown"], vec!["End shutdown"]));
}

fn newcomer() -> Box<IncomingOffer> {
    Box::new(IncomingOffer {
        from: Identity { user: Some("alice".into()), ..Identity::default() },
        to: Private(String::new()),
        description: Some(description()),
        profile: Profile::WebRtc,
        trunk: None,
        gcid: None,
        trickle: true,
        scope: Scope::Everywhere,
        path: MediaPath::Anchored,
        replaces: None,
    })
}

/// A page that was loaded again takes its call back, and the far party hears nothing of it.
#[test]
fn a_new_leg_takes_the_place_of_an_old_one() {
    let mut story = Story::answered();
    story.input(Input::Replace { old: A, new: C, offer: newcomer() });
    let expected = [(C, "Answer".to_owned()), (A, "End replaced".to_owned())];
    assert_eq!(story.commands, expected);
    assert!(story.media.contains(&"bridge leg-2 leg-3".to_owned()), "{:?}", story.media);

    story.commands.clear();
    story.leg(C, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.commands, [(B, "End normal".to_owned())]);
    let record = story.record.expect("the call is over");
    assert_eq!(record.ended, Ended { by: Party::Front, cause: Cause::Normal });
    assert_eq!(record.legs[0], C);
}

/// The called side may move too.
#[test]
fn the_called_side_moves_to_another_device() {
    let mut story = Story::answered();
    story.input(Input::Replace { old: B, new: C, offer: newcomer() });
    story.commands.clear();
    story.leg(C, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.commands, [(A, "End normal".to_owned())]);
    let record = story.record.expect("the call is over");
    assert_eq!(record.ended, Ended { by: Party::Back, cause: Cause::Normal });
}

/// The caller's page was loaded again while the other side rang.
#[test]
fn a_caller_that_comes_back_still_hears_the_ringing() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::Ringing);
    story.commands.clear();
    story.input(Input::Replace { old: A, new: C, offer: newcomer() });
    let expected = [(A, "End replaced".to_owned()), (C, "Ringing".to_owned())];
    assert_eq!(story.commands, expected);
    story.commands.clear();
    story.leg(B, LegEvent::Answer(Some(description())));
    assert_eq!(story.commands, [(C, "Answer".to_owned())]);
}

/// What rings at one device is picked up by another.
#[test]
fn a_ringing_call_is_picked_up_elsewhere() {
    let mut story = Story::begin().forked(&[B]);
    story.leg(B, LegEvent::Ringing);
    story.commands.clear();
    story.input(Input::Replace { old: B, new: C, offer: newcomer() });
    story.commands.sort();
    let expected = [
        (A, "Answer".to_owned()),
        (B, "End answered_elsewhere".to_owned()),
        (C, "Answer".to_owned()),
    ];
    assert_eq!(story.commands, expected);
}

#[test]
fn a_newcomer_that_cannot_be_understood_changes_nothing() {
    let mut story = Story::answered();
    story.refuse = Some((C, MediaRefusal::NoCommonCodec));
    story.input(Input::Replace { old: A, new: C, offer: newcomer() });
    assert_eq!(story.commands, [(C, "End no_common_codec".to_owned())]);
    assert!(story.record.is_none());
    story.commands.clear();
    story.leg(A, LegEvent::Ended(Cause::Normal));
    assert_eq!(story.commands, [(B, "End normal".to_owned())]);
}

/// Only a leg that takes part has a place to take.
#[test]
fn a_leg_that_is_over_cannot_be_replaced() {
    let mut story = Story::begin().forked(&[B, D]);
    story.leg(B, LegEvent::Answer(Some(description())));
    story.commands.clear();
    story.input(Input::Replace { old: D, new: C, offer: newcomer() });
    assert_eq!(story.commands, [(C, "End not_found".to_owned())]);
}

/// A page that is gone may come back: its call waits, but not for ever.
#[test]
fn lost_media_is_given_its_grace() {
    let mut story = Story::answered();
    story.leg(A, LegEvent::MediaGrace(Duration::from_secs(30)));
    story.input(Input::Media(MediaNotice::Lost { leg: A, by_peer: false }));
    assert!(story.record.is_none());
    story.now += Duration::from_secs(20);
    story.input(Input::Media(MediaNotice::Connected { leg: A }));
    story.now += Duration::from_secs(20);
    story.input(Input::Timeout);
    assert!(story.record.is_none());

    story.input(Input::Media(MediaNotice::Lost { leg: A, by_peer: false }));
    story.now += Duration::from_secs(30);
    story.input(Input::Timeout);
    let record = story.record.expect("the call is over");
    assert_eq!(record.ended, Ended { by: Party::Gateway, cause: Cause::MediaLost });
}

/// A browser that hangs up closes its media first, and says so on another way.
#[test]
fn closed_media_waits_for_the_hang_up_that_explains_it() {
    let mut story = Story::answered();
    story.input(Input::Media(MediaNotice::Lost { leg: A, by_peer: true }));
    assert!(story.record.is_none());
    story.leg(A, LegEvent::Ended(Cause::Normal));
    let record = story.record.expect("the call is over");
    assert_eq!(record.ended, Ended { by: Party::Front, cause: Cause::Normal });

    let mut story = Story::answered();
    story.input(Input::Media(MediaNotice::Lost { leg: A, by_peer: true }));
    story.now += Duration::from_secs(3);
    story.input(Input::Timeout);
    let record = story.record.expect("nobody explained it");
    assert_eq!(record.ended, Ended { by: Party::Gateway, cause: Cause::MediaLost });
}
