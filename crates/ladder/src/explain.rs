//! What became of a call, in plain words: why it was refused, silent or cut.
//!
//! A pure function over the ladder, so that page, command line and interface say the same.

use std::time::{Duration, Instant};

use crosspoint_base::plain_name;
use crosspoint_call::router::Refusal;
use crosspoint_call::{Cause, Ended, Party};

use crate::entry::{
    CallLadder, DtlsStep, Entry, Loss, Message, Note, Protocol, Sample, Side, What,
};
use crate::title;

/// What is said of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    /// One sentence.
    pub headline: String,
    /// What else there is to say, a sentence each.
    pub details: Vec<String>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Running,
    /// Answered, and hung up by a party.
    Completed,
    /// It came to no answer for a party's reason.
    Unanswered,
    /// We or a network did not let it through.
    Refused,
    /// It was up and did not end by a party's wish.
    Cut,
    /// It was up, and somebody was not heard.
    Silent,
}

impl Verdict {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Unanswered => "unanswered",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Silent => "silent",
        }
    }
}

/// See the module.
#[must_use]
pub fn explain(ladder: &CallLadder) -> Explanation {
    let story = Story { ladder };
    let (mut verdict, headline) = match ladder.facts.ended {
        None if ladder.facts.is_refused_early => story.refused_early(),
        None => (Verdict::Running, story.so_far()),
        Some((at, ended)) if ladder.facts.answered.is_some() => story.after_answer(at, ended),
        Some((at, ended)) => story.before_answer(at, ended),
    };
    let mut details = Vec::new();
    if ladder.facts.answered.is_some() {
        let silences = story.silences();
        let is_worse = matches!(verdict, Verdict::Completed | Verdict::Running);
        if is_worse && !silences.is_empty() {
            verdict = Verdict::Silent;
        }
        details.extend(silences);
        details.extend(story.poor_quality());
        details.extend(story.past_us());
    }
    details.extend(story.media_failures());
    details.extend(story.tried());
    details.extend(story.rule());
    if ladder.dropped.0 > 0 {
        details.push(format!("{} entries of this long call were dropped.", ladder.dropped.0));
    }
    Explanation { verdict, headline, details }
}

struct Story<'a> {
    ladder: &'a CallLadder,
}

impl<'a> Story<'a> {
    fn notes(&self) -> impl Iterator<Item = (&'a Entry, &'a Note)> {
        self.ladder.entries.iter().filter_map(|entry| match &entry.what {
            What::Note(note) => Some((entry, note)),
            What::Message(_) => None,
        })
    }

    fn messages(&self) -> impl DoubleEndedIterator<Item = (&'a Entry, &'a Message)> {
        self.ladder.entries.iter().filter_map(|entry| match &entry.what {
            What::Message(message) => Some((entry, message)),
            What::Note(_) => None,
        })
    }

    /// `the caller, alice`
    fn who(&self, line: Option<u16>) -> String {
        let line = line.and_then(|at| self.ladder.lines.get(usize::from(at)));
        let Some(line) = line else { return "somebody".to_owned() };
        let side = match line.side {
            Side::Caller => "the caller",
            Side::Called => "the called side",
            Side::MediaServer => "the media server",
        };
        match plain(line.name.expose()) {
            name if name.is_empty() => side.to_owned(),
            name => format!("{side}, {name},"),
        }
    }

    fn name(&self, line: Option<u16>) -> String {
        let line = line.and_then(|at| self.ladder.lines.get(usize::from(at)));
        line.map_or_else(String::new, |line| plain(line.name.expose()))
    }

    fn called(&self) -> String {
        match plain(self.ladder.facts.to.expose()) {
            to if to.is_empty() => "the called number".to_owned(),
            to => to,
        }
    }

    fn so_far(&self) -> String {
        match self.ladder.facts.answered {
            Some(_) => "The call is up.".to_owned(),
            None => format!("The call to {} is being set up.", self.called()),
        }
    }

    /// The last final response that the caller was given.
    fn last_answer(&self) -> Option<(u16, &'a Message)> {
        let sent = self.messages().rev().filter(|(_, m)| m.is_sent && m.protocol == Protocol::Sip);
        sent.filter_map(|(_, m)| Some((title::status(m)?, m)))
            .find(|(status, m)| *status >= 200 && title::method(m) == "INVITE")
    }

    fn refused_early(&self) -> (Verdict, String) {
        let Some((status, answer)) = self.last_answer() else {
            let is_app = self.messages().any(|(_, m)| m.protocol == Protocol::RtcEngine);
            let words = if is_app {
                "The app was refused before there was a call; the answer names the reason."
            } else {
                "An INVITE came, and nothing has been answered to it yet."
            };
            return (if is_app { Verdict::Refused } else { Verdict::Running }, words.to_owned());
        };
        let came = |text: &[u8]| {
            self.messages().any(|(_, m)| {
                !m.is_sent && memchr::memmem::find(&m.bytes.to_ascii_lowercase(), text).is_some()
            })
        };
        let why = match status {
            401 | 407 if came(b"authorization:") => {
                "The caller did not prove who it is: its password or user name is wrong."
            }
            401 | 407 => {
                "The caller did not prove who it is: it was asked for its password and did not \
                 answer. It is no user that is signed in, and no trunk that is known by its address."
            }
            400 => "The caller's INVITE breaks a rule of SIP, so that it cannot be answered.",
            403 => "The caller may not call here: it is no user, or not the one its From names.",
            404 | 484 => "The number that was called is none.",
            415 | 488 | 406 => "The caller's description of media is none that can be taken.",
            416 => "The address that was called is of a kind that is not served here.",
            420 => "The caller insists on an extension of SIP that is not known here.",
            422 => "The caller wants a session timer that is too short.",
            481 => "The caller wants to take the place of a call that is not there.",
            482 => "The same INVITE came twice, by two ways.",
            483 => "The call has gone through too many proxies: probably in a circle.",
            487 => "The caller gave up at once.",
            500..=599 => "There are too many calls, or the gateway or the trunk takes no more.",
            428 | 436 | 437 | 438 => "Nobody vouches for the caller's number, or not rightly.",
            _ => "The call was refused before it was routed.",
        };
        let line = title::of(answer);
        (Verdict::Refused, format!("{why} It was answered with {}.", status_of(&line)))
    }

    fn before_answer(&self, at: Instant, ended: Ended) -> (Verdict, String) {
        let after = seconds(at.saturating_duration_since(self.ladder.facts.started));
        let to = self.called();
        if let Some(refusal) = self.ladder.facts.refusal {
            return (Verdict::Refused, format!("Refused: {}.", refused(refusal, &to)));
        }
        let network = self.answer_of_network();
        let text = match ended.cause {
            Cause::Cancelled => format!("The caller gave up after {after}, before an answer."),
            Cause::Busy => format!("{to} is busy."),
            Cause::Declined => format!("{to} declined the call."),
            Cause::NoAnswer => format!("{to} rang and nobody answered for {after}."),
            Cause::Unavailable => {
                format!("No device of {to} could be reached.")
            }
            Cause::NotFound => format!("There is no {to}."),
            Cause::InvalidNumber => format!("{to} is no number that can be called."),
            Cause::Forbidden => "The call was forbidden.".to_owned(),
            Cause::Unauthorized => "A sign-in was not accepted.".to_owned(),
            Cause::NoCommonCodec => {
                "The two sides have no codec in common, and none that can be translated.".to_owned()
            }
            Cause::BadDescription => "A description of media broke a rule.".to_owned(),
            Cause::NetworkFailure => "The network on the other side failed.".to_owned(),
            Cause::Overload => "There are as many calls as there may be.".to_owned(),
            Cause::TrunkFull => "The trunk has all the calls that it may have.".to_owned(),
            Cause::TrunkDown => "No destination of the trunk answers.".to_owned(),
            Cause::CallerUnproved => "Nobody vouches for the caller's number.".to_owned(),
            Cause::Shutdown => "The gateway was shutting down.".to_owned(),
            Cause::Internal => {
                "A defect of the gateway ended the call; its log says more.".to_owned()
            }
            Cause::SignalingLost => "Signalling was lost before an answer.".to_owned(),
            Cause::MediaFailed | Cause::MediaLost => "Media did not come up.".to_owned(),
            Cause::Normal | Cause::AnsweredElsewhere | Cause::Transferred | Cause::Replaced => {
                format!("The call ended before an answer ({}).", ended.cause)
            }
        };
        let verdict = match ended.cause {
            Cause::Cancelled
            | Cause::Busy
            | Cause::Declined
            | Cause::NoAnswer
            | Cause::Unavailable
            | Cause::Normal
            | Cause::AnsweredElsewhere
            | Cause::Transferred
            | Cause::Replaced => Verdict::Unanswered,
            _ => Verdict::Refused,
        };
        (verdict, [text, network.unwrap_or_default()].join(" ").trim_end().to_owned())
    }

    fn after_answer(&self, at: Instant, ended: Ended) -> (Verdict, String) {
        let answered = self.ladder.facts.answered.unwrap_or(at);
        let talked = seconds(at.saturating_duration_since(answered));
        let by = match ended.by {
            Party::Front => "the caller",
            Party::Back => "the called side",
            Party::Gateway => "the gateway",
        };
        let side = match ended.by {
            Party::Front => "the caller's side",
            Party::Back => "the called side",
            Party::Gateway => "a side",
        };
        let cut = |why: &str| (Verdict::Cut, format!("The call was cut after {talked}: {why}."));
        match ended.cause {
            Cause::Normal | Cause::Cancelled => {
                (Verdict::Completed, format!("Hung up by {by} after {talked}."))
            }
            Cause::Transferred | Cause::Replaced | Cause::AnsweredElsewhere => {
                (Verdict::Completed, format!("The call went on elsewhere after {talked}."))
            }
            Cause::SignalingLost if self.rang("session") => cut(&format!(
                "the session timer ran out, as {side} took part in no refresh (RFC 4028)"
            )),
            Cause::SignalingLost if self.rang("away") => {
                cut(&format!("{side} lost its connection and did not come back in time"))
            }
            Cause::SignalingLost => cut(&format!("{side} does not answer any more")),
            Cause::MediaLost => cut("media of a side stopped"),
            Cause::MediaFailed => cut("media of a side never came up"),
            Cause::NoCommonCodec => cut("the sides have no codec in common"),
            Cause::BadDescription => cut("a description of media broke a rule"),
            Cause::NetworkFailure => cut("the network on the other side failed"),
            Cause::Shutdown => cut("the gateway was shutting down"),
            Cause::Internal => cut("of a defect of the gateway; its log says more"),
            Cause::Overload | Cause::TrunkFull | Cause::TrunkDown => cut("a limit was reached"),
            Cause::Unauthorized | Cause::Forbidden => cut("its permission was withdrawn"),
            cause => (Verdict::Cut, format!("The call ended after {talked} ({cause}).")),
        }
    }

    fn rang(&self, name: &str) -> bool {
        self.notes().any(|(_, note)| matches!(note, Note::TimerRang(rang) if *rang == name))
    }

    /// What the other side said last when it refused.
    fn answer_of_network(&self) -> Option<String> {
        let came = self.messages().rev().filter(|(entry, m)| {
            let line = entry.line.and_then(|at| self.ladder.lines.get(usize::from(at)));
            !m.is_sent
                && m.protocol == Protocol::Sip
                && line.is_some_and(|line| line.side == Side::Called)
        });
        let mut answers = came.filter_map(|(entry, m)| Some((entry, m, title::status(m)?)));
        let is_final = |(_, m, status): &(&Entry, &Message, u16)| {
            *status >= 300 && ![401, 407, 487].contains(status) && title::method(m) == "INVITE"
        };
        let (entry, message, _) = answers.find(is_final)?;
        let who = match self.name(entry.line) {
            name if name.is_empty() => "The other side".to_owned(),
            name => name,
        };
        Some(format!("{who} answered {}.", status_of(&title::of(message))))
    }

    /// Whom nothing was heard of.
    fn silences(&self) -> Vec<String> {
        let mut said = Vec::new();
        let lines = self.ladder.lines.iter().enumerate();
        let heard = |at: u16| {
            let mut figures = self.notes().filter(|(entry, _)| entry.line == Some(at));
            figures.any(|(_, note)| {
                matches!(note, Note::Figures(f) if f.packets_received > 0)
                    || matches!(note, Note::Heard)
            }) || self.ladder.samples.iter().any(|s| s.line == at && s.mos.is_some())
        };
        let silent: Vec<(u16, bool)> = lines
            .filter_map(|(at, _)| {
                let at = u16::try_from(at).ok()?;
                let has = |is: fn(&Note) -> bool| {
                    self.notes().any(|(entry, note)| entry.line == Some(at) && is(note))
                };
                let never = has(|note| matches!(note, Note::Silent { never: true }));
                let later = has(|note| matches!(note, Note::Silent { never: false }));
                (never || later).then_some((at, never && !heard(at)))
            })
            .collect();
        let never: Vec<u16> =
            silent.iter().filter(|(_, never)| *never).map(|(at, _)| *at).collect();
        for (at, is_never) in &silent {
            let who = self.who(Some(*at));
            said.push(if *is_never {
                format!("No media ever came from {who} so that the other side heard nothing.")
            } else {
                format!("Media from {who} stopped for three seconds or more.")
            });
        }
        let others_heard = self.ladder.lines.len() > never.len()
            && (0..self.ladder.lines.len())
                .filter_map(|at| u16::try_from(at).ok())
                .any(|at| !never.contains(&at) && heard(at));
        match never.len() {
            1 if others_heard => said.push(
                "Audio went one way only: a firewall or NAT on the silent side's way to us, or a \
                 wrong address in its description, is the usual reason."
                    .to_owned(),
            ),
            0 => {}
            _ if !others_heard => {
                said.push("Neither side was heard: look at the way to our media ports.".to_owned());
            }
            _ => {}
        }
        said
    }

    /// Where nothing is known of sound, and why.
    fn past_us(&self) -> Option<String> {
        let said = self.notes().filter_map(|(_, note)| match note {
            Note::MediaPastUs => Some(true),
            Note::MediaCame => Some(false),
            _ => None,
        });
        said.last().filter(|is_past| *is_past)?;
        let said = "Media went from one side to the other, past us: when sound was missing, look at the \
                    way between their addresses.";
        Some(said.to_owned())
    }

    /// What stood in the way of media.
    fn media_failures(&self) -> Vec<String> {
        let mut said = Vec::new();
        for (entry, note) in self.notes() {
            let who = self.who(entry.line);
            let line = match note {
                Note::MediaRefused(why) => {
                    format!("The description of {who} was not taken: {why}.")
                }
                Note::Dtls(DtlsStep::Certificate { is_right: false }) => format!(
                    "DTLS failed: the certificate of {who} is not the one its description names."
                ),
                Note::MediaLost(loss) => format!("Media of {who} was lost: {}.", lost(*loss)),
                _ => continue,
            };
            if !said.contains(&line) && said.len() < MOST {
                said.push(line);
            }
        }
        let is_over = self.ladder.facts.ended.is_some();
        if is_over && self.ladder.facts.answered.is_some() {
            said.extend(self.ice_failures());
        }
        said
    }

    /// Of browsers, those whose checks never arrived.
    fn ice_failures(&self) -> Vec<String> {
        let lines = (0..self.ladder.lines.len()).filter_map(|at| u16::try_from(at).ok());
        let failed = lines.filter_map(|at| {
            let notes = || self.notes().filter(|(entry, _)| entry.line == Some(at));
            let is_browser = notes().any(|(_, n)| matches!(n, Note::Dtls(_)))
                || self.messages().any(|(entry, m)| {
                    let mark = b"a=ice-ufrag";
                    entry.line == Some(at)
                        && !m.is_sent
                        && memchr::memmem::find(&m.bytes, mark).is_some()
                });
            let has_pair = notes().any(|(_, n)| matches!(n, Note::IcePair { .. }));
            let has_begun = notes().any(|(_, n)| matches!(n, Note::Dtls(_)));
            let has_keys = notes().any(|(_, n)| matches!(n, Note::Dtls(DtlsStep::Keys(_))));
            let who = self.who(Some(at));
            match (is_browser, has_pair, has_keys) {
                (true, true, false) if !has_begun => Some(format!(
                    "DTLS failed: {who} found a way to us by ICE and never began it, so that there \
                     were no keys."
                )),
                (true, false, false) => Some(format!(
                    "ICE failed: no check of {who} arrived on our media port; a firewall between, \
                     or an address of ours that it cannot reach, is the usual reason."
                )),
                (true, true, false) => {
                    Some(format!("DTLS with {who} came to no end, so that there were no keys."))
                }
                _ => None,
            }
        });
        failed.collect()
    }

    fn poor_quality(&self) -> Vec<String> {
        let mut said = Vec::new();
        for at in (0..self.ladder.lines.len()).filter_map(|at| u16::try_from(at).ok()) {
            let samples: Vec<&Sample> =
                self.ladder.samples.iter().filter(|s| s.line == at).collect();
            let mos: Vec<u32> = samples.iter().filter_map(|s| s.mos.map(u32::from)).collect();
            let count = u32::try_from(mos.len()).unwrap_or(u32::MAX);
            let Some(mean) = mos.iter().sum::<u32>().checked_div(count) else { continue };
            if mean < POOR {
                let loss = samples.iter().map(|s| s.loss).max().unwrap_or_default();
                let jitter = samples.iter().map(|s| s.jitter_us).max().unwrap_or_default();
                said.push(format!(
                    "Sound from {} was poor: MOS {}.{:02} in the middle, up to {} % lost and \
                     {} ms of jitter.",
                    self.who(Some(at)),
                    mean / 100,
                    mean % 100,
                    loss / 100,
                    jitter / 1000,
                ));
            }
        }
        said
    }

    /// The trunks and devices that were tried, when it was more than one or came to nothing.
    fn tried(&self) -> Vec<String> {
        let ends: Vec<(Option<u16>, Cause)> = self
            .notes()
            .filter_map(|(entry, note)| match note {
                Note::LegEnded(cause) => Some((entry.line, *cause)),
                _ => None,
            })
            .collect();
        let tried = self.notes().filter_map(|(entry, note)| match note {
            Note::Dialing { over } => Some((entry.line, over.clone())),
            _ => None,
        });
        let tried: Vec<String> = tried
            .map(|(line, over)| {
                let name = over.map_or_else(|| self.name(line), |over| format!("trunk {over}"));
                let end = ends.iter().find(|(of, _)| *of == line);
                end.map_or(name.clone(), |(_, cause)| format!("{name} ({cause})"))
            })
            .collect();
        let is_plain = tried.len() < 2 && self.ladder.facts.answered.is_some();
        let last = tried.len() > MOST;
        match tried.get(..tried.len().min(MOST)) {
            Some(names) if !names.is_empty() && !is_plain => {
                let more = if last { " and others" } else { "" };
                vec![format!("Tried: {}{more}.", names.join(", then "))]
            }
            _ => vec![],
        }
    }

    /// The rule behind a refusal, in the words of the route test.
    fn rule(&self) -> Option<String> {
        let is_refused = self.ladder.facts.refusal.is_some();
        let why = self.notes().filter_map(|(_, note)| match note {
            Note::Routed { why, refused, .. } if is_refused || refused.is_some() => Some(why),
            _ => None,
        });
        let why = why.last()?.expose();
        let lines: Vec<&str> = why.lines().collect();
        let end = lines.iter().rposition(|line| line.starts_with("=>"));
        let rule = end.and_then(|end| lines.get(end.checked_sub(1)?)).or(lines.last())?;
        Some(format!("The rule: {}.", plain(rule.trim()).trim_end_matches('.')))
    }
}

fn refused(refusal: Refusal, to: &str) -> String {
    match refusal {
        Refusal::UnknownCaller => "the caller is neither a user nor a known trunk".to_owned(),
        Refusal::BadNumber => format!("{to} is neither a number nor a name"),
        Refusal::NoRoute => format!("nobody and no rule has {to}"),
        Refusal::NoDevice => format!("{to} has no device signed in"),
        Refusal::GroupBusy => format!("everybody in {to} is in a call"),
        Refusal::Closed => "a route is closed at this time, or says no".to_owned(),
        Refusal::TrunkToTrunk => "it came over a trunk and may not leave over one".to_owned(),
        Refusal::Permission => format!("the caller may not call {to}"),
        Refusal::HighRisk => format!("{to} is a destination of high cost or risk"),
        Refusal::CallerCalls => "the caller has as many calls outside as it may have".to_owned(),
        Refusal::CallerRate => "the caller begins calls too fast".to_owned(),
        Refusal::DestinationCalls => "as many calls go there as may".to_owned(),
        Refusal::DestinationRate => "calls there begin too fast".to_owned(),
        Refusal::NoTrunk => format!("the trunks that its rules name do not take {to}"),
        Refusal::TrunkFull => "every trunk that could take it has all the calls it may".to_owned(),
        Refusal::TrunkDown => "no trunk that could take it answers".to_owned(),
        Refusal::SentOnTooOften => "it was sent on in a circle, or too often".to_owned(),
    }
}

/// Why media is gone, in words.
#[must_use]
pub fn lost(loss: Loss) -> &'static str {
    match loss {
        Loss::Silent => "nothing came for too long",
        Loss::ConsentExpired => "its ICE checks stopped (RFC 7675)",
        Loss::WrongCertificate => "its certificate is not the one its description names",
        Loss::DtlsFailed => "the DTLS handshake came to no end",
        Loss::PeerClosed => "it closed its DTLS connection",
        Loss::ServerGone => "the media server does not answer any more",
    }
}

/// `486 Busy Here` of `486 Busy Here (INVITE)`.
fn status_of(title: &str) -> String {
    plain(title.split(" (").next().unwrap_or_default())
}

/// Names of peers, without what terminals and readers could take for more than a name.
fn plain(text: &str) -> String {
    plain_name(text, LONGEST)
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1 => "1 second".to_owned(),
        s @ 2..120 => format!("{s} seconds"),
        s => format!("{} min {} s", s / 60, s % 60),
    }
}

/// A mean below is what most find annoying (ITU-T G.107 annex B), in hundredths.
const POOR: u32 = 310;
const MOST: usize = 8;
const LONGEST: usize = 200;
