//! Any bytes as a URI: kept byte for byte, equivalent to itself, and no panic.
#![no_main]

use bytes::Bytes;
use crosspoint_sip::Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(uri) = Uri::parse(Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(uri.as_bytes().as_ref(), bytes);
    let _ = (uri.user(), uri.user_decoded(), uri.host_ip(), uri.param("lr"), uri.headers());
    let _ = (uri.scheme(), uri.port(), uri.is_invalid_host(), uri.is_equivalent(&uri));
});
