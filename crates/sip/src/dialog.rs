//! Dialogs (RFC 3261 §12): identity, route set, and requests inside them.

use std::net::SocketAddr;

use bytes::Bytes;
use crosspoint_base::{Flow, Transport};

use crate::{CSeq, HeaderName, Method, NameAddr, Request, Response, Uri};

/// One dialog, from our side.
#[derive(Debug, Clone)]
pub struct Dialog {
    pub call_id: Bytes,
    /// Our From or To value, with our tag.
    local: Bytes,
    /// The peer's, with its tag once known.
    remote: Bytes,
    local_tag: Bytes,
    remote_tag: Bytes,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    pub remote_target: Uri,
    route_set: Vec<Bytes>,
    pub flow: Flow,
    /// The peer's own address leads nowhere: everything goes back over the flow.
    by_flow: bool,
}

impl Dialog {
    /// As the called side (RFC 3261 §12.1.1). `local_tag` is the tag of our responses.
    #[must_use]
    pub fn as_callee(request: &Request, local_tag: &str, flow: Flow) -> Option<Self> {
        let headers = &request.headers;
        let to = headers.first(&HeaderName::TO)?;
        // Interop: peers of RFC 2543 need not send one.
        let contact = if headers.has(&HeaderName::CONTACT) {
            headers.contacts().next()?
        } else {
            headers.from().cloned()?
        };
        Some(Self {
            call_id: headers.call_id()?.clone(),
            local: Bytes::from([to.as_ref(), b";tag=", local_tag.as_bytes()].concat()),
            remote: headers.first(&HeaderName::FROM)?.clone(),
            local_tag: Bytes::copy_from_slice(local_tag.as_bytes()),
            remote_tag: headers.from()?.tag().unwrap_or_default(),
            local_cseq: 0,
            remote_cseq: headers.cseq().map(|c| c.number),
            by_flow: is_by_flow(&contact.uri, &flow),
            remote_target: contact.uri,
            route_set: headers.values(&HeaderName::RECORD_ROUTE).take(MAX_ROUTES).collect(),
            flow,
        })
    }

    /// As the calling side (RFC 3261 §12.1.2), from a response with a To tag.
    #[must_use]
    pub fn as_caller(request: &Request, response: &Response, flow: Flow) -> Option<Self> {
        let headers = &response.headers;
        let remote_tag = headers.to()?.tag()?;
        let contact = headers.contacts().next().map(|c| c.uri);
        let target = contact.unwrap_or_else(|| request.uri.clone());
        let mut route_set: Vec<Bytes> =
            headers.values(&HeaderName::RECORD_ROUTE).take(MAX_ROUTES).collect();
        route_set.reverse();
        Some(Self {
            call_id: request.headers.call_id()?.clone(),
            local: request.headers.first(&HeaderName::FROM)?.clone(),
            remote: headers.first(&HeaderName::TO)?.clone(),
            local_tag: request.headers.from()?.tag()?,
            remote_tag,
            local_cseq: request.headers.cseq()?.number,
            remote_cseq: None,
            by_flow: is_by_flow(&target, &flow),
            remote_target: target,
            route_set,
            flow,
        })
    }

    /// The same from the response alone, which repeats what the request said of us (RFC 3261
    /// §8.2.6.2). Without a Contact its To is the target.
    #[must_use]
    pub fn as_caller_by(response: &Response, flow: Flow) -> Option<Self> {
        let headers = &response.headers;
        let mut request = Request::new(headers.cseq()?.method.clone(), headers.to()?.uri.clone());
        for name in [HeaderName::FROM, HeaderName::CALL_ID, HeaderName::CSEQ] {
            let value = headers.first(&name)?.clone();
            request.headers.push(name, value);
        }
        Self::as_caller(&request, response, flow)
    }

    #[must_use]
    pub fn local_tag(&self) -> &Bytes {
        &self.local_tag
    }

    #[must_use]
    pub fn remote_tag(&self) -> &Bytes {
        &self.remote_tag
    }

    /// A request inside the dialog (RFC 3261 §12.2.1.1). An ACK carries the INVITE's number.
    pub fn request(&mut self, method: Method, ack_of: Option<u32>) -> Request {
        let number = ack_of.unwrap_or_else(|| self.next_number());
        let strict = self.route_set.first().and_then(strict_route);
        let uri = strict.clone().unwrap_or_else(|| self.remote_target.clone());
        let mut request = Request::new(method.clone(), uri);
        // A router of RFC 2543 wants itself in the request line, and the target last of all.
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            request.headers.push(HeaderName::ROUTE, route.clone());
        }
        if strict.is_some() {
            let target = NameAddr::new(self.remote_target.clone());
            request.headers.push(HeaderName::ROUTE, target.print());
        }
        request.headers.push(HeaderName::MAX_FORWARDS, "70");
        request.headers.push(HeaderName::FROM, self.local.clone());
        request.headers.push(HeaderName::TO, self.remote.clone());
        request.headers.push(HeaderName::CALL_ID, self.call_id.clone());
        request.headers.push(HeaderName::CSEQ, CSeq::print(number, &method));
        request
    }

    /// The number of the next request.
    pub fn next_number(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Where requests inside the dialog are sent.
    #[must_use]
    pub fn next_hop(&self) -> Flow {
        if self.flow.connection.is_some() {
            return self.flow;
        }
        let first = self.route_set.first().and_then(NameAddr::parse).map(|r| r.uri);
        let hop = match &first {
            Some(route) => address_of(route, self.flow.transport),
            None if self.by_flow => None,
            None => address_of(&self.remote_target, self.flow.transport),
        };
        Flow { remote: hop.unwrap_or(self.flow.remote), ..self.flow }
    }

    /// Takes note of a request of the peer: order, and a new target (RFC 3261 §12.2.2).
    /// Says whether it is in order.
    pub fn take_request(&mut self, request: &Request, flow: Flow) -> bool {
        let Some(number) = request.headers.cseq().map(|c| c.number) else { return false };
        if self.remote_cseq.is_some_and(|last| number < last) {
            return false;
        }
        self.remote_cseq = Some(number);
        self.follow(flow);
        self.refresh_target(&request.headers, &request.method);
        true
    }

    /// Later requests go back the way the newest came: a browser may have reconnected, and a NAT
    /// may have found another port.
    pub fn follow(&mut self, flow: Flow) {
        if self.by_flow {
            self.flow = flow;
        }
    }

    /// The peer closed the connection. Where it can be reached at the address that it names,
    /// another one is made to there (RFC 3261 §18.1.1). Says whether it can.
    pub fn lose_connection(&mut self) -> bool {
        let route = self.route_set.first().and_then(NameAddr::parse).map(|r| r.uri);
        let hop = route.as_ref().unwrap_or(&self.remote_target);
        let there = address_of(hop, self.flow.transport);
        let there = there.filter(|there| there.ip() == self.flow.remote.ip());
        if let Some(remote) = there {
            self.flow = Flow { connection: None, remote, ..self.flow };
        }
        there.is_some()
    }

    /// A target refresh by the peer's response (RFC 3261 §12.2.1.2).
    pub fn take_response(&mut self, response: &Response, method: &Method) {
        self.refresh_target(&response.headers, method);
    }

    fn refresh_target(&mut self, headers: &crate::Headers, method: &Method) {
        if ![Method::INVITE, Method::UPDATE, Method::SUBSCRIBE].contains(method) {
            return;
        }
        if let Some(contact) = headers.contacts().next() {
            self.by_flow = is_by_flow(&contact.uri, &self.flow);
            self.remote_target = contact.uri;
        }
    }
}

/// The URI of a router that does not know loose routing (RFC 3261 §12.2.1.1).
fn strict_route(route: &Bytes) -> Option<Uri> {
    let uri = NameAddr::parse(route)?.uri;
    uri.param("lr").is_none().then_some(uri)
}

/// True when the contact's own address cannot be used: a stream, an invented name, or an address
/// behind a NAT.
fn is_by_flow(contact: &Uri, flow: &Flow) -> bool {
    flow.transport.is_reliable()
        || contact.is_invalid_host()
        || contact.host_ip() != Some(flow.remote.ip())
}

/// The address of a URI with a literal host (RFC 3263 §4.2: the port follows the transport).
#[must_use]
pub fn address_of(uri: &Uri, transport: Transport) -> Option<SocketAddr> {
    let default = if transport.is_secure() { 5061 } else { 5060 };
    Some(SocketAddr::new(uri.host_ip()?, uri.port().unwrap_or(default)))
}

/// Proxies on the way between a peer and us.
const MAX_ROUTES: usize = 16;
