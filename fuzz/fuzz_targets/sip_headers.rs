//! Any bytes as the value of every header that has a typed view.
#![no_main]

use bytes::Bytes;
use crosspoint_sip::{CSeq, HeaderName, Headers, NameAddr, Via};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let value = Bytes::copy_from_slice(bytes);
    if let Some(via) = Via::parse(&value) {
        let _ = (via.branch(), via.received(), via.rport());
        let source = "192.0.2.1:5060".parse().expect("a socket address");
        let _ = via.with_source(&value, source);
    }
    if let Some(address) = NameAddr::parse(&value) {
        let printed = NameAddr::parse(&address.print()).expect("what we print parses");
        assert_eq!(printed.uri.as_bytes(), address.uri.as_bytes());
        let _ = (address.tag(), address.display_text());
    }
    let _ = CSeq::parse(&value);
    let mut headers = Headers::new();
    for name in [HeaderName::CONTACT, HeaderName::ROUTE, HeaderName::EXPIRES, HeaderName::VIA] {
        headers.push(name, value.clone());
    }
    let _ = (headers.contacts().count(), headers.routes().count(), headers.expires());
    headers.remove_first_value(&HeaderName::VIA);
    headers.replace_first_value(&HeaderName::ROUTE, Bytes::from_static(b"<sip:a>"));
});
