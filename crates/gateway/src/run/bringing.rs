//! Media that goes past us and is wanted here.

use std::time::{Duration, Instant};

use crosspoint_base::CallId;
use crosspoint_call::{CallState, MediaPath, View};
use crosspoint_node::Input;

use super::driver::{Driver, Wish};
use crate::calls::{Asked, CallWish};

impl Driver {
    pub(super) fn asked_of_call(&mut self, asked: Asked) {
        if let CallWish::Of(gcid, step) = &asked.wish {
            if let Some(words) = step.in_words() {
                self.node.note_on_ladder(Instant::now(), gcid, words);
            }
            if step.needs_media() {
                self.bring_media(gcid);
                if let Some(deciding) = self.carriers_of(gcid) {
                    return self.put_off(asked, deciding);
                }
            }
        }
        self.calls.handle(self.node.views(), asked);
    }

    /// Media that goes past us comes here, for who wants to do something with it.
    fn bring_media(&mut self, gcid: &str) {
        let is_past = |view: &View| {
            view.gcid.as_str() == gcid
                && view.state == CallState::Active
                && view.path == MediaPath::Bypass
        };
        let past: Vec<CallId> = self.node.views().filter(is_past).map(|view| view.call).collect();
        if past.is_empty() {
            return;
        }
        for call in past {
            self.node.handle_input(Instant::now(), Input::BringMedia(call));
        }
        // Its legs are to be known to media control before anything is done with them.
        self.settle();
    }

    /// Waits until it is decided who carries the media of a call, us or a media server; `None` when
    /// it is.
    fn carriers_of(&self, gcid: &str) -> Option<impl Future<Output = ()> + use<>> {
        let is_here = |view: &View| {
            view.gcid.as_str() == gcid
                && view.state == CallState::Active
                && view.path == MediaPath::Anchored
        };
        let views = self.node.views().filter(is_here);
        self.media.deciding(views.flat_map(|view| view.legs).map(|leg| leg.leg).collect())
    }

    /// What is asked of a call is done once that is decided.
    fn put_off(&self, asked: Asked, deciding: impl Future<Output = ()> + Send + 'static) {
        let later = self.later.clone();
        tokio::spawn(async move {
            // Where it takes longer, whoever asked is told that it is not here.
            let _ = tokio::time::timeout(DECIDING, deciding).await;
            if let Some(wishes) = later.upgrade() {
                // It fails only when the node is gone.
                let _ = wishes.send(Wish::Brought(asked)).await;
            }
        });
    }
}

/// What a media server may take to be asked a second time, and to answer.
const DECIDING: Duration = Duration::from_secs(5);
