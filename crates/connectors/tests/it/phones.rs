//! Phones and browsers that sign in, for stories.

use bytes::Bytes;
use crosspoint_base::{Flow, Rng, Secret};
use crosspoint_call::{IncomingOffer, LegEvent};
use crosspoint_sip::digest::{Challenge, Credentials, answer};
use crosspoint_sip::{Method, Uri};

use crate::harness::{Desk, OFFER, Sent};

/// A device of a user.
pub(crate) struct Phone {
    pub(crate) flow: Flow,
    pub(crate) user: &'static str,
    pub(crate) password: String,
    /// With brackets and parameters.
    pub(crate) contact: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) nonce_count: u32,
    /// What it calls itself.
    pub(crate) agent: &'static str,
    branches: u32,
    rng: Rng,
}

impl Phone {
    pub(crate) fn new(user: &'static str, flow: Flow) -> Self {
        Self {
            flow,
            user,
            password: format!("{user}-secret"),
            contact: format!("<sip:{user}@{}>", flow.remote),
            call_id: format!("reg-{user}"),
            cseq: 0,
            challenge: None,
            nonce_count: 0,
            agent: "",
            branches: 0,
            rng: Rng::from_u64(5),
        }
    }

    /// A browser as JsSIP writes it: an invented host, an instance, outbound.
    pub(crate) fn browser(user: &'static str, flow: Flow) -> Self {
        let contact = format!(
            "<sip:{user}-web@k3j2h1.invalid;transport=ws>;+sip.instance=\"<urn:uuid:00-{user}>\"\
             ;reg-id=1"
        );
        Self { contact, ..Self::new(user, flow) }
    }

    pub(crate) fn with_agent(mut self, agent: &'static str) -> Self {
        self.agent = agent;
        self
    }

    /// A REGISTER with these headers besides; with credentials once it was challenged.
    pub(crate) fn register(&mut self, extra: &str) -> String {
        self.cseq += 1;
        let contact = if self.contact.is_empty() {
            String::new()
        } else {
            format!("Contact: {}\n", self.contact)
        };
        let extra = format!("{contact}{}{}", self.agent_line(), extra.trim());
        self.request("REGISTER", "sip:gateway.test", &extra)
    }

    pub(crate) fn request(&mut self, method: &str, uri: &str, extra: &str) -> String {
        self.branches += 1;
        let authorization = self.authorization(method, uri);
        let extra = format!("{authorization}{}", extra.trim());
        let Self { flow, user, call_id, cseq, branches, .. } = self;
        let (transport, sent_by) = (flow.transport, flow.remote);
        format!(
            "{method} {uri} SIP/2.0\n\
             Via: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{call_id}{branches}\n\
             Max-Forwards: 70\nFrom: <sip:{user}@gateway.test>;tag=reg\n\
             To: <sip:{user}@gateway.test>\nCall-ID: {call_id}\nCSeq: {cseq} {method}\n{extra}"
        )
    }

    pub(crate) fn agent_line(&self) -> String {
        if self.agent.is_empty() { String::new() } else { format!("User-Agent: {}\n", self.agent) }
    }

    pub(crate) fn authorization(&mut self, method: &str, uri: &str) -> String {
        let Some(challenge) = &self.challenge else { return String::new() };
        self.nonce_count += 1;
        let credentials = Credentials {
            user: self.user.to_owned(),
            password: Secret::new(self.password.clone()),
            realm: None,
        };
        let uri = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).unwrap();
        let name = if method == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
        let method = Method::parse(&Bytes::copy_from_slice(method.as_bytes())).unwrap();
        let value = answer(challenge, &credentials, &method, &uri, self.nonce_count, &mut self.rng);
        format!("{name}: {}\n", value.unwrap())
    }

    /// Takes the strongest challenge of a 401 or 407.
    pub(crate) fn challenged(&mut self, response: &Sent) {
        let name = if response.what() == "401" { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let values: Vec<Bytes> = response.all(name).into_iter().map(Bytes::from).collect();
        self.challenge = Some(Challenge::best(values.iter()).unwrap());
        self.nonce_count = 0;
    }

    /// Signs in, with a challenge where there is none yet; the last response.
    #[track_caller]
    pub(crate) fn sign_in(&mut self, desk: &mut Desk, extra: &str) -> Sent {
        let register = self.register(extra);
        desk.hear(&self.flow, &register);
        let response = desk.next();
        if response.what() != "401" {
            return response;
        }
        self.challenged(&response);
        let register = self.register(extra);
        desk.hear(&self.flow, &register);
        desk.next()
    }

    /// Calls somebody, with a challenge where there is none for it yet; what the call hears.
    #[track_caller]
    pub(crate) fn call(&mut self, desk: &mut Desk, to: &str, extra: &str) -> IncomingOffer {
        let uri = format!("sip:{to}@gateway.test");
        self.call_id = format!("call-{}-{to}", self.user);
        for _ in 0..2 {
            self.cseq += 1;
            let contact = format!("Contact: {}\n", self.contact);
            let extra = format!("{contact}Content-Type: application/sdp\n{extra}");
            let invite = format!("{}\n\n{OFFER}", self.request("INVITE", &uri, &extra));
            desk.hear(&self.flow, &invite);
            if let Some((_, event)) = desk.events().pop() {
                let LegEvent::Offer(offer) = event else { panic!("{event:?}") };
                return *offer;
            }
            let response = desk.next();
            response.is("407");
            self.challenged(&response);
        }
        panic!("it is asked for a password again");
    }
}
