//! Requests: who asks is found out first, then what for (RFC 8656 §7 to §12, RFC 8489 §9.2.4).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::allocation::{Allocation, Channel, Unbound};
use super::stun::{Class, Message, Writer, attribute, method};
use super::{Client, Credentials, LIFETIME, MAX_LIFETIME, Output, RelayId, TurnServer};

/// Who signed a request, and with what.
struct Signer {
    username: String,
    user: String,
    key: [u8; 16],
    /// In Unix seconds.
    expires: u64,
}

/// An answer other than success.
struct Refusal(u16, &'static str);

type Answered = Result<Writer, Refusal>;

impl TurnServer {
    pub(super) fn handle_request(&mut self, now: Instant, client: Client, message: &Message<'_>) {
        if message.method == method::BINDING {
            if self.may_answer(now, client) {
                let bytes =
                    success(message).address(attribute::XOR_MAPPED_ADDRESS, client.remote).finish();
                self.reply(client, bytes);
            }
            return;
        }
        let signer = match self.signer(now, client, message) {
            Ok(signer) => signer,
            Err(refusal) => return self.refuse_stranger(now, client, message, &refusal),
        };
        let unknown: Vec<u8> = message
            .attributes()
            .filter(|(kind, _)| *kind < 0x8000 && !KNOWN.contains(kind))
            .take(MAX_UNKNOWN)
            .flat_map(|(kind, _)| kind.to_be_bytes())
            .collect();
        let answered = if !unknown.is_empty() {
            let answer = error(message).error(420, "Unknown attribute");
            Ok(answer.attribute(attribute::UNKNOWN_ATTRIBUTES, &unknown))
        } else if message.method == method::ALLOCATE {
            match self.allocate(now, client, message, &signer) {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            }
        } else {
            self.of_allocation(now, client, message, &signer)
        };
        let answer =
            answered.unwrap_or_else(|Refusal(code, text)| error(message).error(code, text));
        self.reply(client, answer.finish_signed(&signer.key));
    }

    fn of_allocation(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'_>,
        signer: &Signer,
    ) -> Answered {
        let Some(relay) = self.by_client.get(&client).copied() else {
            return Err(Refusal(437, "No allocation"));
        };
        let owner = self.allocations.get(&relay).map(|allocation| &allocation.username);
        if owner.is_some_and(|owner| *owner != signer.username) {
            return Err(Refusal(441, "Wrong credentials"));
        }
        match message.method {
            method::REFRESH => self.refresh(now, relay, message),
            method::CREATE_PERMISSION => self.create_permission(now, relay, message),
            method::CHANNEL_BIND => self.bind_channel(now, relay, message),
            _ => Err(Refusal(400, "Unknown method")),
        }
    }

    /// Credentials are good for what begins before they expire. What has begun is refreshed with
    /// them for a while longer, so that no call is cut at that moment.
    fn signer(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'_>,
    ) -> Result<Signer, Refusal> {
        if !message.has_integrity() {
            return Err(Refusal(401, "Unauthorized"));
        }
        let texts = [attribute::USERNAME, attribute::REALM, attribute::NONCE];
        let [Some(username), Some(realm), Some(nonce)] = texts.map(|kind| message.text(kind))
        else {
            return Err(Refusal(400, "Bad request"));
        };
        if realm != self.config.realm || !self.nonces.is_good(now, client.remote, nonce) {
            return Err(Refusal(438, "Stale nonce"));
        }
        let claim = Credentials::claim(username);
        let running = self.by_client.get(&client).and_then(|relay| self.allocations.get(relay));
        let is_running = running.is_some_and(|allocation| allocation.username == username);
        let unix = self.unix(now);
        let is_expired = claim.as_ref().is_some_and(|claim| !is_running && claim.expires <= unix);
        let claim = claim.filter(|_| !is_expired);
        let signer = claim.map(|claim| Signer {
            username: username.to_owned(),
            user: claim.user.to_owned(),
            key: self.config.credentials.key(username, realm),
            expires: claim.expires,
        });
        let signer = signer.filter(|signer| message.is_signed_with(&signer.key));
        signer.ok_or_else(|| {
            self.counters.auth_failures += 1;
            // The nonce was made for this address. Who comes too late was let in once.
            if !is_expired {
                self.outputs.push_back(Output::WrongPassword { client });
            }
            Refusal(401, "Unauthorized")
        })
    }

    fn refuse_stranger(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'_>,
        refusal: &Refusal,
    ) {
        if !self.may_answer(now, client) {
            return;
        }
        let mut answer = error(message).error(refusal.0, refusal.1);
        if refusal.0 != 400 {
            let nonce = self.nonces.make(now, client.remote);
            answer = answer
                .attribute(attribute::REALM, self.config.realm.as_bytes())
                .attribute(attribute::NONCE, nonce.as_bytes());
        }
        self.reply(client, answer.finish());
    }

    fn allocate(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'_>,
        signer: &Signer,
    ) -> Result<(), Refusal> {
        if let Some(relay) = self.by_client.get(&client).copied() {
            let allocation = self.allocations.get(&relay);
            return match allocation.filter(|a| a.transaction == message.transaction) {
                // Repeated while its socket is opened: the answer will come.
                Some(allocation) if allocation.relayed.port() == 0 => Ok(()),
                Some(_) => {
                    self.answer_allocate(now, relay);
                    Ok(())
                }
                None => Err(Refusal(437, "There is an allocation")),
            };
        }
        match message.attribute(attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Refusal(442, "Only UDP is relayed")),
            _ => return Err(Refusal(400, "Bad request")),
        }
        let address = self.relay_address(message)?;
        let lifetime = requested_lifetime(message)?.clamp(LIFETIME, MAX_LIFETIME);
        if self.allocations.len() >= self.config.limits.allocations {
            self.counters.over_capacity += 1;
            return Err(Refusal(508, "Too many allocations"));
        }
        let Some(user) = self.users.begin(now, &signer.user) else {
            self.counters.over_quota += 1;
            return Err(Refusal(486, "Quota reached"));
        };
        self.next_relay += 1;
        let relay = RelayId(self.next_relay);
        let left = Duration::from_secs(signer.expires.saturating_sub(self.unix(now)));
        let last = now + left.min(MAX_LEFT) + GRACE;
        let allocation = Allocation::new(
            client,
            signer.username.clone(),
            user,
            signer.key,
            message.transaction,
            SocketAddr::new(address, 0),
            now + lifetime,
            last,
        );
        self.expiry.set(relay, now + lifetime);
        self.by_client.insert(client, relay);
        self.allocations.insert(relay, allocation);
        self.outputs.push_back(Output::Open { relay, address });
        Ok(())
    }

    fn relay_address(&self, message: &Message<'_>) -> Result<IpAddr, Refusal> {
        let wants_v6 = match message.attribute(attribute::REQUESTED_ADDRESS_FAMILY) {
            None | Some([1, ..]) => false,
            Some([2, ..]) => true,
            Some(_) => return Err(Refusal(440, "Unknown family")),
        };
        let mut addresses = self.config.relay_addresses.iter();
        let found = addresses.find(|ip| ip.is_ipv6() == wants_v6).copied();
        found.ok_or(Refusal(440, "There is no address of this family"))
    }

    pub(super) fn answer_allocate(&mut self, now: Instant, relay: RelayId) {
        let Some(allocation) = self.allocations.get(&relay) else { return };
        let lifetime = allocation.expires.saturating_duration_since(now);
        let client = allocation.client;
        let bytes = Writer::new(method::ALLOCATE, Class::Success, allocation.transaction)
            .address(attribute::XOR_RELAYED_ADDRESS, allocation.relayed)
            .address(attribute::XOR_MAPPED_ADDRESS, client.remote)
            .attribute(attribute::LIFETIME, &seconds(lifetime))
            .finish_signed(&allocation.key);
        self.reply(client, bytes);
    }

    fn refresh(&mut self, now: Instant, relay: RelayId, message: &Message<'_>) -> Answered {
        let Some(allocation) = self.allocations.get_mut(&relay) else {
            return Err(Refusal(437, "No allocation"));
        };
        let family = if allocation.relayed.is_ipv4() { 1 } else { 2 };
        let wanted = message.attribute(attribute::REQUESTED_ADDRESS_FAMILY);
        if wanted.is_some_and(|wanted| wanted.first() != Some(&family)) {
            return Err(Refusal(443, "Another family"));
        }
        let wanted = requested_lifetime(message)?;
        let lifetime = if wanted.is_zero() {
            self.remove(relay);
            Duration::ZERO
        } else {
            let left = allocation.last.saturating_duration_since(now);
            let lifetime = wanted.clamp(LIFETIME, MAX_LIFETIME).min(left);
            allocation.expires = now + lifetime;
            self.expiry.set(relay, now + lifetime);
            lifetime
        };
        Ok(success(message).attribute(attribute::LIFETIME, &seconds(lifetime)))
    }

    fn create_permission(
        &mut self,
        now: Instant,
        relay: RelayId,
        message: &Message<'_>,
    ) -> Answered {
        let peers = message.attributes().filter(|(kind, _)| *kind == attribute::XOR_PEER_ADDRESS);
        let ips: Option<Vec<IpAddr>> = peers
            .take(MAX_PEERS)
            .map(|(_, value)| message.read_address(value).map(|peer| peer.ip()))
            .collect();
        let ips = ips.filter(|ips| !ips.is_empty()).ok_or(Refusal(400, "Bad request"))?;
        for ip in &ips {
            self.check_peer(relay, *ip)?;
        }
        let allocation = self.allocations.get_mut(&relay);
        if allocation.is_some_and(|allocation| allocation.permit(now, &ips)) {
            Ok(success(message))
        } else {
            Err(Refusal(508, "Too many permissions"))
        }
    }

    fn bind_channel(&mut self, now: Instant, relay: RelayId, message: &Message<'_>) -> Answered {
        let number = match message.attribute(attribute::CHANNEL_NUMBER) {
            Some([high @ 0x40..=0x4f, low, _, _]) => u16::from_be_bytes([*high, *low]),
            _ => return Err(Refusal(400, "Bad channel")),
        };
        let peer = message.peer().ok_or(Refusal(400, "Bad request"))?;
        self.check_peer(relay, peer.ip())?;
        if !self.config.policy.permits(peer, |peer| self.by_relayed.contains_key(&peer)) {
            self.counters.forbidden += 1;
            return Err(FORBIDDEN);
        }
        let allocation = self.allocations.get_mut(&relay).ok_or(Refusal(437, "No allocation"))?;
        match allocation.bind(now, Channel(number), peer) {
            Ok(()) => Ok(success(message)),
            Err(Unbound::Conflict) => Err(Refusal(400, "Bound otherwise")),
            Err(Unbound::Full) => Err(Refusal(508, "Too many channels")),
        }
    }

    fn check_peer(&mut self, relay: RelayId, ip: IpAddr) -> Result<(), Refusal> {
        // A mapped address counts as what it stands for, so it is not of another family.
        if !self.config.policy.permits_address(ip) {
            self.counters.forbidden += 1;
            return Err(FORBIDDEN);
        }
        let relayed = self.allocations.get(&relay).map(|allocation| allocation.relayed);
        if relayed.is_some_and(|relayed| relayed.is_ipv4() == ip.is_ipv4()) {
            Ok(())
        } else {
            Err(Refusal(443, "Another family"))
        }
    }

    fn may_answer(&mut self, now: Instant, client: Client) -> bool {
        let may = client.is_stream || self.strangers.may_answer(now, client.remote.ip());
        self.counters.rate_limited += u64::from(!may);
        may
    }

    fn reply(&mut self, client: Client, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Reply { client, bytes });
    }
}

fn requested_lifetime(message: &Message<'_>) -> Result<Duration, Refusal> {
    let Some(value) = message.attribute(attribute::LIFETIME) else { return Ok(LIFETIME) };
    let value: [u8; 4] = value.try_into().map_err(|_| Refusal(400, "Bad request"))?;
    Ok(Duration::from_secs(u64::from(u32::from_be_bytes(value))))
}

fn success(message: &Message<'_>) -> Writer {
    Writer::new(message.method, Class::Success, message.transaction)
}

fn error(message: &Message<'_>) -> Writer {
    Writer::new(message.method, Class::Error, message.transaction)
}

fn seconds(time: Duration) -> [u8; 4] {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}

const FORBIDDEN: Refusal = Refusal(403, "Forbidden");
/// Those that must be understood and are.
const KNOWN: [u16; 10] = [
    attribute::USERNAME,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REALM,
    attribute::NONCE,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::REQUESTED_TRANSPORT,
    attribute::XOR_MAPPED_ADDRESS,
];
const UDP: u8 = 17;
const MAX_UNKNOWN: usize = 16;
/// A request names a handful of peers.
const MAX_PEERS: usize = 64;
/// For how long after their end credentials keep alive what they have begun.
const GRACE: Duration = Duration::from_secs(12 * 3600);
/// Instants reach no further on some systems.
const MAX_LEFT: Duration = Duration::from_secs(366 * 24 * 3600);
