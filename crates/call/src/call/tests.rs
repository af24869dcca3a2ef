//! Stories of one call, told by its inputs and outputs.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]

use super::*;
use crate::router::{Attempt, Causes, Outcome, Target, Terms, Way};
use crate::{
    Described, Digit, MediaPath, MediaRefusal, Party, ReofferFailure, Scope, SrtpPolicy,
    TransferTarget,
};
use crosspoint_base::BindingId;
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
    offers: Vec<crate::OutgoingOffer>,
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

    /// Alice asks for an answer without hands.
    fn allowed(may: bool) -> Self {
        Self::called(Some(description()), may)
    }

    fn with_offer(description: Option<Session>) -> Self {
        Self::called(description, false)
    }

    fn called(description: Option<Session>, may_press: bool) -> Self {
        let now = Instant::now();
        let offer = IncomingOffer {
            from: Identity { user: Some("alice".into()), ..Identity::default() },
            to: Private("bob".to_owned()),
            description,
            profile: Profile::WebRtc,
            trunk: None,
            video: true,
            gcid: None,
            trickle: false,
            scope: Scope::Everywhere,
            path: MediaPath::Anchored,
            replaces: None,
            location: None,
            diverted: vec![],
            auto_answer: true,
            may_press,
        };
        let gcid = Gcid::from_peer("the-call").unwrap();
        let mut story = Self {
            now,
            call: Call::new(now, CallId(1), gcid, A, offer),
            commands: Vec::new(),
            media: Vec::new(),
            routes: Vec::new(),
            offers: Vec::new(),
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
            video: true,
            bypass: false,
            user: Some("bob".into()),
            caller: None,
        };
        let outcome = Outcome::Fork(legs.iter().map(target).collect());
        self.decide(outcome, legs.to_vec());
    }

    fn decide(&mut self, outcome: Outcome, legs: Vec<LegId>) {
        let decision = Decision {
            called_user: Some("bob".into()),
            ..Decision::plain(outcome, Duration::from_secs(60))
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
                Output::Join(_) | Output::Anchoring(_) | Output::Anchored(_) => {}
                Output::Parked(_) | Output::Unparked(_) => {}
                Output::Answered | Output::Changed | Output::Graded => {}
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
            LegCommand::Offer(offer) => {
                self.offers.push(*offer);
                self.commands.push((leg, name));
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
                    passed_news: false,
                    only_fax: false,
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
            MediaRequest::RefuseVideo { leg } => self.media.push(format!("no video {leg}")),
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

/// The new leg takes the place of a call in another network; who asked is routed like a caller.
#[test]
fn a_transfer_to_a_call_elsewhere_names_it_to_who_is_called() {
    let mut story = Story::answered();
    let [to, call] = ["carol", "a@b;to-tag=1;from-tag=2"].map(|text| Private(text.to_owned()));
    story.leg(B, LegEvent::Transfer(TransferTarget::Elsewhere { to, call }));
    let story = story.forked(&[C]);
    let joins = story.offers.last().and_then(|offer| offer.joins.clone());
    assert_eq!(joins.map(|call| call.expose().clone()).as_deref(), Some("a@b;to-tag=1;from-tag=2"));
}

#[test]
fn a_leg_whose_media_has_moved_is_offered_anew() {
    let mut story = Story::answered();
    for leg in [A, B] {
        story.input(Input::Media(MediaNotice::Displaced { leg }));
    }
    assert_eq!((story.heard(A), story.heard(B)), (vec!["Reoffer"], vec![]));
    story.leg(A, LegEvent::Reanswer(description()));
    assert_eq!(story.heard(B), ["Reoffer"]);
    story.leg(B, LegEvent::Reanswer(description()));
    assert_eq!((story.heard(A).len(), story.heard(B).len()), (1, 1));
}

/// Who resumes while the far side is still being told of the hold is resumed all the same.
#[test]
fn a_change_that_comes_during_another_reaches_the_far_side_after_it() {
    let mut story = Story::answered();
    story.input(Input::Media(MediaNotice::Displaced { leg: B }));
    story.far_side_concerned = true;
    story.leg(A, LegEvent::Reoffer(Some(description())));
    assert_eq!((story.heard(A), story.heard(B)), (vec!["Reanswer"], vec!["Reoffer"]));
    story.leg(B, LegEvent::Reanswer(description()));
    assert_eq!(story.heard(B), ["Reoffer", "Reoffer"]);
    story.leg(B, LegEvent::Reanswer(description()));
    assert_eq!((story.heard(A).len(), story.heard(B).len()), (1, 2));
}

#[test]
fn a_bad_reoffer_is_refused_and_the_call_lives() {
    let mut story = Story::answered();
    story.refuse = Some((A, MediaRefusal::NoCommonCodec));
    story.leg(A, LegEvent::Reoffer(Some(description())));
    assert_eq!(story.heard(A), ["RejectReoffer"]);
    assert!(story.record.is_none());
}

/// Both sides hear when one does worse, and again when it is well; nothing in between.
#[test]
fn both_sides_are_told_when_one_does_worse() {
    let mut story = Story::answered();
    let told = |mos| {
        let quality = crate::Quality { mos: Some(mos), ..crate::Quality::default() };
        Input::Media(MediaNotice::Quality { leg: A, quality })
    };
    let silence = |is_silent| Input::Media(MediaNotice::Silence { leg: A, is_silent });
    for (input, news) in [
        (told(440), false),
        (told(350), true),
        (told(360), false),
        (silence(true), true),
        (told(350), false),
        (silence(false), true),
        (told(441), true),
    ] {
        story.commands.clear();
        story.input(input);
        let expected: &[&str] = if news { &["Grade"] } else { &[] };
        assert_eq!((story.heard(A), story.heard(B)), (expected.to_vec(), expected.to_vec()));
    }
    let seen = story.call.view();
    let leg = seen.legs.iter().find(|leg| leg.leg == A).expect("the leg");
    assert_eq!(leg.quality.and_then(|quality| quality.mos), Some(441));
    assert!(!leg.is_silent);
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
    let target = Target {
        reach,
        profile: Profile::Rtp(SrtpPolicy::Off),
        video: true,
        bypass: false,
        user: None,
        caller: None,
    };
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

/// Who was brought in over a trunk must not dial on behalf of the user that was there before.
#[test]
fn a_trunk_party_that_came_by_a_transfer_transfers_as_itself() {
    let mut story = Story::answered();
    story.leg(B, LegEvent::Transfer(TransferTarget::Blind(Private("+4930".to_owned()))));
    let reach = Reach::Trunk { name: "carrier".into(), number: Private("+4930".to_owned()) };
    let target = Target {
        reach,
        profile: Profile::Rtp(SrtpPolicy::Off),
        video: true,
        bypass: false,
        user: None,
        caller: None,
    };
    story.decide(Outcome::Fork(vec![target]), vec![D]);
    story.leg(D, LegEvent::Answer(Some(description())));
    story.leg(D, LegEvent::Transfer(TransferTarget::Blind(Private("+999".to_owned()))));
    let request = story.routes.last().expect("it is routed");
    assert_eq!((request.user.as_deref(), request.trunk.as_deref()), (None, Some("carrier")));
}

/// Whoever else asks for it opens no microphone.
#[test]
fn only_callers_who_may_press_buttons() {
    for may in [false, true] {
        let mut story = Story::allowed(may).forked(&[B, C]);
        let offers = story.offers.iter().filter(|offer| offer.auto_answer).count();
        assert_eq!(offers, if may { 2 } else { 0 });
        story.leg(A, LegEvent::Pressed(crate::Button::Talk));
        story.leg(B, LegEvent::Pressed(crate::Button::Talk));
        let heard: &[&str] = if may { &["Offer", "Press"] } else { &["Offer"] };
        assert_eq!((story.heard(B), story.heard(C)), (heard.to_vec(), heard.to_vec()));
        story.leg(C, LegEvent::Answer(Some(description())));
        story.leg(A, LegEvent::Pressed(crate::Button::Hold));
        assert_eq!(story.heard(C).contains(&"Press"), may);
        assert!(!story.heard(A).contains(&"Press"), "the called side presses nothing");
    }
}

/// Alice has bob in one call and carol, leg C, in another.
fn consulting() -> (Story, Story) {
    let mut second = Story::begin();
    second.route_to(&[C]);
    second.leg(C, LegEvent::Answer(Some(description())));
    (Story::answered(), second)
}

#[test]
fn an_attended_transfer_moves_the_leg_of_the_other_call() {
    let (mut first, mut second) = consulting();
    let given = second.call.hand_over_peer(second.now, A);
    second.drain();
    assert_eq!(second.heard(A).last(), Some(&"End transferred"));
    assert_eq!(second.ended(), Some((Party::Front, Cause::Transferred)));
    assert!(!second.media.contains(&"close leg-3".to_owned()), "its media goes on");
    first.leg(A, LegEvent::Transfer(TransferTarget::Attended(D)));
    first.input(Input::Joined(given.map(Box::new)));
    assert_eq!(first.heard(A), ["Done", "End transferred"]);
    assert!(first.media.contains(&"bridge leg-2 leg-3".to_owned()));
    first.leg(C, LegEvent::Ended(Cause::Normal));
    assert_eq!(first.heard(B), ["End normal"]);
    assert!(first.is_over());
}

/// The call is over before the other gives its party away: nobody is left behind.
#[test]
fn a_party_that_comes_too_late_is_ended() {
    let (mut first, mut second) = consulting();
    let given = second.call.hand_over_peer(second.now, A);
    first.leg(A, LegEvent::Transfer(TransferTarget::Attended(D)));
    first.call.handle_input(first.now, Input::End(Cause::Shutdown));
    first.input(Input::Joined(given.map(Box::new)));
    assert_eq!(first.heard(C), ["End transferred"]);
    assert!(first.is_over());
}

/// A change of its media has to be over first.
#[test]
fn a_party_is_not_given_away_in_the_middle_of_a_change() {
    let (mut first, mut second) = consulting();
    second.far_side_concerned = true;
    second.leg(A, LegEvent::Reoffer(Some(description())));
    let given = second.call.hand_over_peer(second.now, A);
    assert!(matches!(given, Err(Cause::Busy)));
    first.leg(A, LegEvent::Transfer(TransferTarget::Attended(D)));
    first.input(Input::Joined(given.map(Box::new)));
    assert_eq!(first.heard(A), ["Failed(Busy)"]);
    assert!(first.record.is_none() && second.record.is_none());
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
        video: true,
        gcid: None,
        trickle: true,
        scope: Scope::Everywhere,
        path: MediaPath::Anchored,
        replaces: None,
        location: None,
        diverted: vec![],
        auto_answer: false,
        may_press: false,
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

/// Whoever comes speaks on the side of who left.
#[test]
fn everybody_keeps_their_side() {
    let mut story = Story::answered();
    assert_eq!(story.call.view().speakers, [Some(A), Some(B)]);
    story.input(Input::Replace { old: A, new: C, offer: newcomer() });
    assert_eq!(story.call.view().speakers, [Some(C), Some(B)]);
    // The caller hands the call over: the newcomer calls in its place.
    story.leg(C, LegEvent::Transfer(TransferTarget::Blind(Private("dave".to_owned()))));
    story.route_to(&[D]);
    story.leg(D, LegEvent::Answer(Some(description())));
    assert_eq!(story.call.view().speakers, [Some(D), Some(B)]);
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

/// A carrier's trunk, say.
#[test]
fn a_leg_that_may_have_no_video_is_kept_from_it() {
    let mut story = Story::begin();
    let reach = Reach::Trunk { name: "carrier".into(), number: Private("1".to_owned()) };
    let target = Target {
        reach,
        profile: Profile::Rtp(SrtpPolicy::Off),
        video: false,
        bypass: false,
        user: None,
        caller: None,
    };
    story.decide(Outcome::Fork(vec![target]), vec![B]);
    assert!(story.media.contains(&format!("no video {B}")), "{:?}", story.media);
    assert!(!story.media.contains(&format!("no video {A}")));
}

fn trunk(name: &str) -> Target {
    let reach = Reach::Trunk { name: name.into(), number: Private("+4930".to_owned()) };
    let profile = Profile::Rtp(SrtpPolicy::Off);
    Target { reach, profile, video: false, bypass: false, user: None, caller: None }
}

fn device(user: &str, binding: u64) -> Target {
    Target {
        reach: Reach::Binding(BindingId(binding)),
        profile: Profile::WebRtc,
        video: true,
        bypass: false,
        user: Some(user.into()),
        caller: None,
    }
}

/// Attempts, one after the other, with a leg for each target.
fn sequence(story: &mut Story, go_on: Causes, attempts: Vec<(Way, Option<Duration>)>) {
    let terms = |patience| Terms { patience, go_on, ..Terms::ring_for(Duration::from_secs(20)) };
    let mut attempts = attempts.into_iter().enumerate().map(|(n, (way, patience))| Attempt {
        what: format!("place {n}"),
        way,
        terms: terms(patience),
    });
    let Some(Attempt { way: Way::Ring(targets), terms, .. }) = attempts.next() else {
        panic!("the first rings")
    };
    let later: Vec<Attempt> = attempts.collect();
    let decision = Decision {
        terms,
        later,
        called_user: Some("bob".into()),
        ..Decision::plain(Outcome::Fork(targets), Duration::from_secs(20))
    };
    let count = u64::try_from(decision.targets().count()).expect("few");
    let legs = (0..count).map(|n| LegId(B.0 + n)).collect();
    story.input(Input::Routed { decision, legs });
}

#[test]
fn a_trunk_that_fails_is_followed_by_the_next() {
    let mut story = Story::begin();
    let ways = ["a", "b", "c"].map(|name| (Way::Ring(vec![trunk(name)]), None));
    sequence(&mut story, Causes::of_network(), ways.into());
    assert_eq!(story.heard(B), ["Offer"]);
    assert!(story.heard(C).is_empty(), "one at a time");
    story.leg(B, LegEvent::Ended(Cause::NetworkFailure));
    assert_eq!(story.heard(C), ["Offer"]);
    story.leg(C, LegEvent::Ringing);
    story.leg(C, LegEvent::Answer(Some(description())));
    assert_eq!(story.heard(A), ["Ringing", "Answer"]);
    story.leg(A, LegEvent::Ended(Cause::Normal));
    let record = story.record.expect("it is over");
    assert_eq!((record.trunk.as_deref(), record.attempts), (Some("b"), 2));
    assert!(record.why.contains("network_failure: goes on, place 1"), "{}", record.why);
    assert_eq!(story.call.spare_legs().collect::<Vec<_>>(), [D]);
}

#[test]
fn an_answer_of_the_network_ends_the_call_and_the_last_failure_tells() {
    for (first, second, told) in [
        (Cause::Busy, None, Cause::Busy),
        (Cause::NotFound, None, Cause::NotFound),
        (Cause::NetworkFailure, Some(Cause::Busy), Cause::Busy),
        (Cause::Overload, Some(Cause::NetworkFailure), Cause::Overload),
    ] {
        let mut story = Story::begin();
        let ways = ["a", "b"].map(|name| (Way::Ring(vec![trunk(name)]), None));
        sequence(&mut story, Causes::of_network(), ways.into());
        story.leg(B, LegEvent::Ended(first));
        if let Some(second) = second {
            assert!(story.record.is_none());
            story.leg(C, LegEvent::Ended(second));
        }
        assert_eq!(story.ended(), Some((Party::Back, told)));
    }
}

#[test]
fn a_trunk_that_says_nothing_is_given_up_for_the_next_but_one_that_works_is_not() {
    for is_heard in [false, true] {
        let mut story = Story::begin();
        let ways = ["a", "b"].map(|name| {
            (Way::Ring(vec![trunk(name)]), (name == "a").then(|| Duration::from_secs(6)))
        });
        sequence(&mut story, Causes::of_network(), ways.into());
        if is_heard {
            story.leg(B, LegEvent::Trying);
        }
        story.now += Duration::from_secs(6);
        story.input(Input::Timeout);
        assert_eq!(story.heard(C).is_empty(), is_heard);
        assert_eq!(story.heard(B).len(), if is_heard { 1 } else { 2 });
    }
}

#[test]
fn a_group_rings_on_when_one_member_declines_and_hunts_when_nobody_answers() {
    let mut story = Story::begin();
    let all = Way::Ring(vec![device("bob", 1), device("bob", 2), device("carol", 3)]);
    let last = Way::Ring(vec![device("dave", 4)]);
    sequence(&mut story, Causes::of_person(), vec![(all, None), (last, None)]);
    story.leg(B, LegEvent::Ended(Cause::Declined));
    assert_eq!(story.heard(C).last(), Some(&"End declined"), "bob's other device");
    assert_eq!(story.heard(D), ["Offer"]);
    story.leg(D, LegEvent::Ended(Cause::NoAnswer));
    let next = LegId(5);
    assert_eq!(story.heard(next), ["Offer"]);
    story.leg(next, LegEvent::Answer(Some(description())));
    assert_eq!(story.call.called_user.as_deref(), Some("dave"));
}

#[test]
fn overflow_may_be_sound_of_our_own() {
    let mut story = Story::begin();
    let ways =
        vec![(Way::Ring(vec![device("bob", 1)]), None), (Way::Play(Playback::Announcement), None)];
    sequence(&mut story, Causes::of_person(), ways);
    story.leg(B, LegEvent::Ended(Cause::Busy));
    assert!(story.media.contains(&format!("play Announcement {A}")), "{:?}", story.media);
    assert_eq!(story.heard(A).last(), Some(&"Answer"));
}

#[test]
fn who_gives_up_ends_all_attempts() {
    let mut story = Story::begin();
    let ways = ["a", "b"].map(|name| (Way::Ring(vec![trunk(name)]), None));
    sequence(&mut story, Causes::of_network(), ways.into());
    story.leg(A, LegEvent::Ended(Cause::Cancelled));
    assert_eq!(story.ended(), Some((Party::Front, Cause::Cancelled)));
    assert!(story.heard(C).is_empty());
}

#[test]
fn a_transfer_goes_on_to_the_next_place_too() {
    let mut story = Story::answered();
    story.leg(A, LegEvent::Transfer(TransferTarget::Blind(Private("700".to_owned()))));
    let places = [device("carol", 3), device("dave", 4)].map(|d| Attempt {
        what: "a member".to_owned(),
        way: Way::Ring(vec![d]),
        terms: Terms { go_on: Causes::of_person(), ..Terms::ring_for(Duration::from_secs(20)) },
    });
    let [Attempt { way: Way::Ring(first), terms, .. }, second] = places else { panic!("rings") };
    let decision = Decision {
        terms,
        later: vec![second],
        ..Decision::plain(Outcome::Fork(first), Duration::from_secs(20))
    };
    story.input(Input::Routed { decision, legs: vec![C, D] });
    story.leg(C, LegEvent::Ended(Cause::Busy));
    assert_eq!(story.heard(D), ["Offer"]);
    story.leg(D, LegEvent::Answer(Some(description())));
    assert!(story.media.contains(&format!("bridge {B} {D}")), "{:?}", story.media);
    assert_eq!(story.heard(A), ["Trying", "Done", "End transferred"]);
}
