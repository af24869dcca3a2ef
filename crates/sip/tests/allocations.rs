//! Counts what a usual INVITE costs in allocations: parse, typed access and print.
//!
//! A test binary of its own, because it counts through the global allocator.
#![expect(unsafe_code, reason = "a counting allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use crosspoint_sip::Message;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INVITE: &str = include_str!("data/invite.sip");

/// RFC 3261 messages are passed on as slices; only lists and the output are allocated.
#[test]
fn an_invite_costs_at_most_ten_allocations() {
    let bytes = Bytes::from(INVITE.replace('\n', "\r\n").into_bytes());
    // The first clone of a `Bytes` made from a vector allocates its shared count.
    let bytes = bytes.clone();
    let before = COUNT.get();
    let message = Message::parse(bytes.clone()).expect("a good INVITE");
    let headers = message.headers();
    assert!(headers.via().and_then(|via| via.branch()).is_some());
    assert!(headers.from().and_then(|from| from.tag()).is_some());
    assert!(headers.to().is_some() && headers.call_id().is_some() && headers.cseq().is_some());
    assert_eq!(headers.contacts().count(), 1);
    let printed = message.print();
    let spent = COUNT.get() - before;
    assert_eq!(printed, bytes);
    assert!(spent <= 10, "{spent} allocations");
}
