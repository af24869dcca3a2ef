//! `[features]` and `[[pickup_group]]`: what users may do about each other's calls.

use crosspoint_call::router::Features;

use super::parking;
use super::reader::Section;

pub(super) fn read(root: &Section<'_>) -> Features {
    let section = root.section("features");
    let number = |key: &'static str| {
        let s = section.as_ref()?;
        let number = s.string(key)?;
        let is_fit = |c: char| c.is_ascii_digit() || "*#+".contains(c);
        if number.value.is_empty() || !number.value.chars().all(is_fit) {
            let remedy = "write keys of a telephone, for example \"**\"";
            s.document().complain_about(&number, "nobody can dial this", remedy);
        }
        Some(number.value)
    };
    let (pickup, group_pickup) = (number("pickup"), number("group_pickup"));
    let presence = section.as_ref().and_then(|s| s.boolean("presence")).unwrap_or(true);
    let names = |key: &'static str| {
        let names = section.as_ref().and_then(|s| s.strings(key)).unwrap_or_default();
        names.into_iter().map(|name| name.value).collect()
    };
    let (auto_answer, auto_answer_trunks) = (names("auto_answer"), names("auto_answer_trunks"));
    if let Some(section) = section {
        section.finish();
    }
    let mut pickup_groups = Vec::new();
    for group in root.sections("pickup_group") {
        let users = group.strings("users");
        let users = group.required("users", "users = [\"alice\", \"bob\"]", users);
        let names = users.into_iter().flatten().map(|name| name.value.as_str().into());
        pickup_groups.push(names.collect());
        group.finish();
    }
    Features {
        presence,
        pickup,
        group_pickup,
        pickup_groups,
        auto_answer,
        auto_answer_trunks,
        parking: parking::read(root),
    }
}
