//! Apps in the simulated world.

use std::time::Instant;

use crosspoint_base::ConnectionId;
use crosspoint_call::MediaPath;
use crosspoint_connectors::rtcengine::{Denial, Lookup};
use crosspoint_node::Input;
use serde_json::Value;

use super::Sim;
use crate::app::{App, AppCall};
use crate::phone::Manner;

/// An app of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppId(usize);

impl Sim {
    /// An app of a user, signed in.
    pub fn add_app(&mut self, user: &str) -> AppId {
        self.know(user);
        self.enter_app(user, None)
    }

    /// An app on a network of apps.
    pub fn add_member(&mut self, network: &str, name: &str, path: MediaPath) -> AppId {
        self.enter_app(name, Some((network, path)))
    }

    fn enter_app(&mut self, user: &str, network: Option<(&str, MediaPath)>) -> AppId {
        let id = AppId(self.apps.len());
        self.apps.push(App::new(id.0, user, network));
        self.app_reopens(id);
        id
    }

    pub fn set_app_manner(&mut self, id: AppId, manner: Manner) {
        self.apps[id.0].manner = manner;
    }

    /// Calls a target; gives the call's global id.
    pub fn app_calls(&mut self, id: AppId, target: &str) -> String {
        let gcid = self.apps[id.0].call(target);
        self.settle();
        gcid
    }

    /// Has the calls of an app ask to be answered by the called device itself.
    pub fn make_intercom(&mut self, id: AppId) {
        self.apps[id.0].is_intercom = true;
    }

    /// Takes over the user's call of this id from wherever it is.
    pub fn app_takes_over(&mut self, id: AppId, gcid: &str) {
        self.apps[id.0].take_over(gcid);
        self.settle();
    }

    pub fn app_answers(&mut self, id: AppId) {
        self.apps[id.0].answer();
        self.settle();
    }

    pub fn app_hangs_up(&mut self, id: AppId) {
        self.apps[id.0].hang_up();
        self.settle();
    }

    pub fn app_presses(&mut self, id: AppId, digits: &str) {
        self.apps[id.0].press(digits);
        self.settle();
    }

    pub fn app_transfers(&mut self, id: AppId, target: &str) {
        self.apps[id.0].transfer(target);
        self.settle();
    }

    pub fn app_trickles(&mut self, id: AppId, candidate: &str) {
        self.apps[id.0].trickle(candidate);
        self.settle();
    }

    pub fn app_changes(&mut self, id: AppId) {
        self.apps[id.0].change();
        self.settle();
    }

    /// The app says something that its page would not.
    pub fn app_says(&mut self, id: AppId, method: &str, body: Value) {
        self.apps[id.0].say_to_account(method, body);
        self.settle();
    }

    /// The socket dies; the page lives on.
    pub fn app_loses_socket(&mut self, id: AppId) {
        if let Some(connection) = self.apps[id.0].connection.take() {
            self.node.handle_input(self.now, Input::AppClosed(connection));
            self.settle();
        }
    }

    /// The page opens a socket, again perhaps.
    pub fn app_reopens(&mut self, id: AppId) {
        self.app_loses_socket(id);
        self.sockets += 1;
        let connection = ConnectionId(SOCKETS + self.sockets);
        let opened = Input::AppOpened { connection, origin: None };
        self.node.handle_input(self.now, opened);
        self.apps[id.0].open(connection);
        self.settle();
    }

    /// The page is loaded again: its calls are gone from it, but what it kept is not.
    pub fn app_reloads(&mut self, id: AppId) {
        self.app_loses_socket(id);
        self.apps[id.0].reload();
        self.app_reopens(id);
    }

    /// The states of the calls that the page knows of, oldest first.
    #[must_use]
    pub fn app_states(&self, id: AppId) -> Vec<AppCall> {
        self.apps[id.0].calls()
    }

    #[must_use]
    pub fn app_is_up(&self, id: AppId) -> bool {
        self.apps[id.0].calls().contains(&AppCall::Up)
    }

    /// Every message that the app heard, by method.
    #[must_use]
    pub fn app_heard(&self, id: AppId) -> &[String] {
        &self.apps[id.0].heard
    }

    #[must_use]
    pub fn app_errors(&self, id: AppId) -> &[String] {
        &self.apps[id.0].errors
    }

    #[must_use]
    pub fn app_digits(&self, id: AppId) -> &str {
        &self.apps[id.0].digits
    }

    /// The texts that an app was sent.
    #[must_use]
    pub fn app_texts(&self, id: AppId) -> &[String] {
        &self.apps[id.0].texts
    }

    /// What became of the texts that an app sent.
    #[must_use]
    pub fn app_text_states(&self, id: AppId) -> &[String] {
        &self.apps[id.0].text_states
    }

    /// Sends a text from the app's account.
    pub fn app_writes(&mut self, id: AppId, target: &str, body: &str) {
        self.app_says(id, "account.text", serde_json::json!({ "target": target, "text": body }));
    }

    #[must_use]
    pub fn app_candidates(&self, id: AppId) -> &[String] {
        &self.apps[id.0].candidates
    }

    /// The other side's description in the running call.
    #[must_use]
    pub fn app_remote(&self, id: AppId) -> Option<&str> {
        self.apps[id.0].remote()
    }

    /// Ids and global ids of the calls that run.
    #[must_use]
    pub fn app_live(&self, id: AppId) -> Vec<(String, String)> {
        self.apps[id.0].live()
    }

    /// The calls that the app's user has on other devices, as it was told.
    #[must_use]
    pub fn app_elsewhere(&self, id: AppId) -> &[Value] {
        &self.apps[id.0].elsewhere
    }

    /// Whether the last socket went on where the one before it was lost.
    #[must_use]
    pub fn app_is_resumed(&self, id: AppId) -> Option<bool> {
        self.apps[id.0].has_resumed
    }

    /// Moves what apps say to the node; says whether there was anything.
    pub(super) fn settle_apps(&mut self) -> bool {
        let mut was_busy = false;
        for app in &mut self.apps {
            let Some(connection) = app.connection else { continue };
            while let Some(text) = app.poll_text() {
                was_busy = true;
                self.node.handle_input(self.now, Input::AppText { connection, text });
            }
        }
        was_busy
    }

    pub(super) fn app_hears(&mut self, connection: ConnectionId, text: &str) {
        if let Some(app) = self.apps.iter_mut().find(|a| a.connection == Some(connection)) {
            app.handle_text(text);
        }
    }

    pub(super) fn app_is_cut(&mut self, connection: ConnectionId) {
        if let Some(app) = self.apps.iter_mut().find(|a| a.connection == Some(connection)) {
            app.connection = None;
        }
        self.node.handle_input(self.now, Input::AppClosed(connection));
    }

    pub(super) fn look_up(&mut self, now: Instant, lookup: &Lookup) {
        let app = self.apps.iter().find(|app| app.token == *lookup.token.expose());
        let grant = app.map(|app| Box::new(app.grant(now))).ok_or(Denial::InvalidToken);
        let connection = lookup.connection;
        self.node.handle_input(now, Input::Granted { connection, grant });
    }
}

/// Apart from any other connection.
const SOCKETS: u64 = 1_000_000;
