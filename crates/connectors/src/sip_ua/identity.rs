//! Who calls, as networks sign it (RFC 8224, SHAKEN): calls that leave over a trunk get a
//! signature; of those that come, the host is asked whether theirs is good.
//!
//! A call waits for the answer, some seconds at most. What comes of it is told with the call, and
//! the call goes on unless the operator wants a proof.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{Flow, TimerTable, WallClock};
use crosspoint_call::{CallerCheck, CallerVerdict, Identity, OutgoingOffer, Reach};
use crosspoint_sip::endpoint::ServerKey;
use crosspoint_sip::{HeaderName, NameAddr, Request, StatusCode, Uri};
use crosspoint_stir::{
    Attestation, CallFacts, Claim, ClaimError, Passport, Proof, Signer, TelephoneNumber,
};

use super::auth::Sender;
use super::{Output, ServerUse, SipUa};

/// What is signed and what is asked for.
#[derive(Debug, Clone)]
pub struct StirConfig {
    pub signing: Option<Signing>,
    pub verifying: Option<Verifying>,
    /// The trunks that this is about; all when empty.
    pub trunks: Vec<Arc<str>>,
    pub clock: WallClock,
}

impl StirConfig {
    /// The same with the time and the name that this process goes by already.
    pub(super) fn going_on_from(mut self, old: Option<&Self>) -> Self {
        let Some(old) = old else { return self };
        self.clock = old.clock;
        if let (Some(new), Some(old)) = (&mut self.signing, &old.signing) {
            new.origin.clone_from(&old.origin);
        }
        self
    }
}

/// With what calls that leave are signed.
#[derive(Debug, Clone)]
pub struct Signing {
    pub signer: Arc<Signer>,
    /// For our own users; calls of others get the lowest.
    pub attestation: Attestation,
    /// Names this gateway to those who trace a call: opaque to everybody else.
    pub origin: String,
}

/// How calls that come are judged.
#[derive(Debug, Clone, Copy)]
pub struct Verifying {
    /// Calls that nobody vouches for are refused.
    pub is_demanded: bool,
    /// How old or early a signature may be (RFC 8224 §4.1: 60 s).
    pub freshness: Duration,
}

/// One question to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerificationId(u64);

/// Why a signature was not found good by the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    #[error("the certificate cannot be had: {0}")]
    NoCertificate(String),
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// Calls whose signature is looked at.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    waiting: BTreeMap<VerificationId, Waiting>,
    timers: TimerTable<VerificationId>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    key: ServerKey,
    flow: Flow,
    request: Request,
    sender: Sender,
}

/// What is known of the caller of a new INVITE.
pub(super) enum Caller {
    /// It is a user of ours, or nobody wants to know.
    NotAsked,
    Checked(Checked),
    /// The host has to look at this.
    Ask(Box<Claim>),
}

/// What the call hears, and the response when it must not go on.
pub(super) struct Checked {
    pub(super) check: CallerCheck,
    pub(super) refusal: Option<StatusCode>,
}

impl Verifications {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl SipUa {
    /// Answers `Output::Verify`.
    pub fn handle_verified(
        &mut self,
        now: Instant,
        id: VerificationId,
        outcome: Result<Proof, Unproved>,
    ) {
        self.verified(now, id, outcome);
        self.settle(now);
    }

    pub(super) fn verifications_due(&mut self, now: Instant) {
        while let Some(id) = self.verifications.timers.pop_due(now) {
            let late = Unproved::NoCertificate("it took too long".to_owned());
            self.verified(now, id, Err(late));
        }
    }

    /// Whether a new call may go on at once.
    pub(super) fn caller_of(&mut self, now: Instant, sender: &Sender, request: &Request) -> Caller {
        let Some(stir) = &self.config.stir else { return Caller::NotAsked };
        let Some(verifying) = stir.verifying else { return Caller::NotAsked };
        let is_asked = match sender {
            Sender::User(_) | Sender::Browser(_) => false,
            Sender::Registration(_) => stir.trunks.is_empty(),
            Sender::Trunk(index) | Sender::Forwarded { trunk: index, .. } => {
                self.trunks.get(*index).is_some_and(|trunk| stir.concerns(&trunk.config.name))
            }
        };
        if !is_asked {
            return Caller::NotAsked;
        }
        let time = stir.unix(now);
        let claim = match claim_of(request) {
            None => return Caller::Checked(self.unsigned(verifying)),
            Some(Err(error)) => return Caller::Checked(self.unproved(verifying, &error.into())),
            Some(Ok(claim)) => claim,
        };
        let freshness = verifying.freshness.as_secs();
        match claim.check(&facts_of(request), time, freshness) {
            Ok(()) => Caller::Ask(Box::new(claim)),
            Err(error) => Caller::Checked(self.unproved(verifying, &error.into())),
        }
    }

    /// Puts a call aside until the host knows.
    pub(super) fn ask_who_calls(
        &mut self,
        now: Instant,
        (key, flow, request): (ServerKey, Flow, &Request),
        sender: Sender,
        claim: Box<Claim>,
    ) {
        self.verifications.last += 1;
        let id = VerificationId(self.verifications.last);
        let waiting = Waiting { key, flow, request: request.clone(), sender };
        self.verifications.waiting.insert(id, waiting);
        self.verifications.timers.set(id, now + PATIENCE);
        self.servers.insert(key, ServerUse::Verification(id));
        self.outputs.push_back(Output::Verify(id, claim));
    }

    /// The caller gave up meanwhile.
    pub(super) fn verification_cancelled(&mut self, now: Instant, id: VerificationId) {
        self.verifications.timers.cancel(&id);
        let Some(waiting) = self.verifications.waiting.remove(&id) else { return };
        self.servers.remove(&waiting.key);
        self.refuse(now, waiting.key, &waiting.request, StatusCode::REQUEST_TERMINATED);
    }

    fn verified(&mut self, now: Instant, id: VerificationId, outcome: Result<Proof, Unproved>) {
        self.verifications.timers.cancel(&id);
        // It is gone when the caller gave up.
        let Some(waiting) = self.verifications.waiting.remove(&id) else { return };
        let Waiting { key, flow, request, sender } = waiting;
        self.servers.remove(&key);
        let verifying = self.config.stir.as_ref().and_then(|stir| stir.verifying);
        let checked = match (outcome, verifying) {
            (Ok(proof), _) => Some(self.proved(proof)),
            (Err(why), Some(verifying)) => Some(self.unproved(verifying, &why)),
            (Err(_), None) => None,
        };
        self.invite_from(now, (key, flow, &request), sender, checked);
    }

    fn proved(&mut self, proof: Proof) -> Checked {
        self.counters.callers_proved += 1;
        let verdict = match proof.attestation {
            Attestation::Full => CallerVerdict::Full,
            Attestation::Partial => CallerVerdict::Partial,
            Attestation::Gateway => CallerVerdict::Gateway,
        };
        let provider = proof.provider.map(|code| format!("provider {code}, "));
        let detail = format!("{}origin {}", provider.unwrap_or_default(), clean(&proof.origin));
        Checked { check: CallerCheck { verdict, detail, is_refused: false }, refusal: None }
    }

    fn unsigned(&mut self, verifying: Verifying) -> Checked {
        self.counters.callers_unsigned += 1;
        let verdict = CallerVerdict::Unsigned;
        let is_refused = verifying.is_demanded;
        let refusal = is_refused.then_some(StatusCode::USE_IDENTITY_HEADER);
        Checked { check: CallerCheck { verdict, detail: String::new(), is_refused }, refusal }
    }

    fn unproved(&mut self, verifying: Verifying, why: &Unproved) -> Checked {
        self.counters.callers_failed += 1;
        // RFC 8224 §6.2.2.
        let status = match why {
            Unproved::NoCertificate(_) => StatusCode::BAD_IDENTITY_INFO,
            Unproved::Claim(ClaimError::Certificate(_)) => StatusCode::UNSUPPORTED_CREDENTIAL,
            Unproved::Claim(ClaimError::Old(_) | ClaimError::Early(_)) => StatusCode::FORBIDDEN,
            Unproved::Claim(_) => StatusCode::INVALID_IDENTITY_HEADER,
        };
        let is_refused = verifying.is_demanded;
        let (verdict, detail) = (CallerVerdict::Failed, why.to_string());
        let check = CallerCheck { verdict, detail, is_refused };
        Checked { check, refusal: is_refused.then_some(status) }
    }

    /// Says in a new INVITE of ours what stands behind its caller: to networks with a signature,
    /// to devices of ours in a word.
    pub(super) fn tell_of_caller(
        &mut self,
        now: Instant,
        offer: &OutgoingOffer,
        domain: &str,
        request: &mut Request,
    ) {
        match (&offer.reach, &offer.from.check) {
            (Reach::Trunk { name, .. }, _) => self.sign(now, name, &offer.from, request),
            (Reach::Binding(_), Some(check)) if !offer.from.is_private => {
                if let Some(asserted) = asserted(offer.from.address.expose(), domain, check) {
                    request.headers.push(HeaderName::P_ASSERTED_IDENTITY, asserted);
                }
            }
            (Reach::Binding(_) | Reach::Registration { .. }, _) => {}
        }
    }

    /// A caller that is shown as a name, or not at all, has no number to sign.
    fn sign(&mut self, now: Instant, name: &str, from: &Identity, request: &mut Request) {
        let Some(stir) = self.config.stir.as_ref().filter(|stir| stir.concerns(name)) else {
            return;
        };
        let Some(signing) = &stir.signing else { return };
        let number = |header: &HeaderName| {
            let value = request.headers.first(header).and_then(NameAddr::parse)?;
            TelephoneNumber::parse(&value.uri.user_decoded()?)
        };
        // Where both are there, the network goes by what is asserted (RFC 3325).
        let orig = number(&HeaderName::P_ASSERTED_IDENTITY).or_else(|| number(&HeaderName::FROM));
        let (Some(orig), Some(dest)) = (orig, number(&HeaderName::TO)) else {
            self.counters.calls_not_signed += 1;
            return;
        };
        let attestation =
            if from.user.is_some() { signing.attestation } else { Attestation::Gateway };
        let passport = Passport {
            attestation,
            orig,
            dest: vec![dest],
            issued: stir.unix(now),
            origin: signing.origin.clone(),
            certificate: signing.signer.certificate().to_owned(),
        };
        let identity = signing.signer.identity(&passport);
        request.headers.push(HeaderName::IDENTITY, identity);
        self.counters.calls_signed += 1;
    }
}

impl StirConfig {
    fn concerns(&self, trunk: &str) -> bool {
        self.trunks.is_empty() || self.trunks.iter().any(|name| **name == *trunk)
    }

    fn unix(&self, now: Instant) -> u64 {
        self.clock.since_epoch(now).as_secs()
    }
}

/// The caller's number with what is known of it (3GPP TS 24.229 §7.2A.20). Given to devices of
/// ours only, and nothing of the kind is taken from others.
fn asserted(number: &str, domain: &str, check: &CallerCheck) -> Option<String> {
    TelephoneNumber::parse(number)?;
    let uri = Uri::sip(Some(number), domain, None)?;
    let text = std::str::from_utf8(uri.as_bytes()).ok()?;
    let (user, host) = text.split_once('@')?;
    let verstat = match check.verdict {
        CallerVerdict::Full => "TN-Validation-Passed",
        CallerVerdict::Failed => "TN-Validation-Failed",
        CallerVerdict::Partial | CallerVerdict::Gateway | CallerVerdict::Unsigned => {
            "No-TN-Validation"
        }
    };
    Some(format!("<{user};verstat={verstat}@{host};user=phone>"))
}

/// The first signature that is a SHAKEN one; otherwise what is wrong with the first of all.
fn claim_of(request: &Request) -> Option<Result<Claim, ClaimError>> {
    let mut wrong = None;
    for value in request.headers.all(&HeaderName::IDENTITY).take(MAX_SIGNATURES) {
        match Claim::parse(value) {
            Ok(claim) => return Some(Ok(claim)),
            Err(error) => {
                wrong.get_or_insert(error);
            }
        }
    }
    wrong.map(Err)
}

fn facts_of(request: &Request) -> CallFacts {
    let headers = &request.headers;
    let number = |user: Option<String>| user.and_then(|user| TelephoneNumber::parse(&user));
    let asserted = headers
        .values(&HeaderName::P_ASSERTED_IDENTITY)
        .take(MAX_SIGNATURES)
        .filter_map(|value| NameAddr::parse(&value));
    let from = headers.from().map(|from| from.uri.user_decoded()).into_iter();
    let from = from.chain(asserted.map(|asserted| asserted.uri.user_decoded()));
    let to = [request.uri.user_decoded(), headers.to().and_then(|to| to.uri.user_decoded())];
    CallFacts {
        from: from.filter_map(number).collect(),
        to: to.into_iter().filter_map(number).collect(),
    }
}

/// Text of another network for a record.
fn clean(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

/// A caller hears nothing while the certificate is fetched.
const PATIENCE: Duration = Duration::from_secs(5);
/// Identity headers that are looked at; diversions add more (RFC 8946).
const MAX_SIGNATURES: usize = 4;
