//! `[[forwarding]]`: where users' calls go, unless a user has set something else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_call::router::Forwarding;

use super::reader::Section;

pub(super) fn read(root: &Section<'_>) -> BTreeMap<Arc<str>, Forwarding> {
    let mut all = BTreeMap::new();
    for section in root.sections("forwarding") {
        let user = section.required("user", "user = \"alice\"", section.string("user"));
        let place = |key: &'static str| {
            let to = section.string(key)?;
            if let Err(why) = crate::forwarding::place(&to.value) {
                let message = format!("{:?} {why}", to.value);
                section.document().complain_about(&to, message, "write for example \"1002\"");
            }
            Some(to.value)
        };
        let range = Duration::from_secs(5)..Duration::from_secs(121);
        let forwarding = Forwarding {
            always: place("always"),
            busy: place("busy"),
            no_answer: place("no_answer"),
            no_answer_after: section
                .duration("no_answer_after", range)
                .map_or(Forwarding::USUAL, |after| after.value),
            away: place("away"),
        };
        if let Some(user) = user {
            all.insert(user.value.as_str().into(), forwarding);
        }
        section.finish();
    }
    all
}
