//! Any bytes as a SIP message: no panic, and what is taken prints to what parses the same.
#![no_main]

use bytes::Bytes;
use crosspoint_sip::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => {
            let printed = message.print();
            let again = Message::parse(printed.clone()).expect("what we print parses");
            assert_eq!(again.print(), printed);
        }
        Err(error) => {
            if let Some(answer) = error.answer {
                Message::parse(answer.print()).expect("what we answer parses");
            }
        }
    }
});
