//! Where calls go: `[[route]]`, `[[group]]`, `[[hours]]`, `[[permission]]`, `[fraud]`,
//! `[[destination_limit]]` and `[emergency]`.
//!
//! Names of trunks, groups and hours are checked here. Users are in the store, so names of users
//! are kept with their places, for [`Routing::unknown_users`].

mod rates;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_call::router::{
    Causes, Country, Destination, DestinationLimit, Emergency, Fraud, Group, Hours, Permission,
    Route, RouteTable, Strategy,
};
use crosspoint_call::{Cause, Playback};
use jiff::tz::TimeZone;

use super::error::Problem;
use super::reader::{Located, Section};
use super::trunk;
pub(super) use rates::millionths;

/// Everything about where calls go, besides trunks and our own numbers.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    pub country: Option<&'static Country>,
    pub routes: RouteTable,
    /// Trunks that some route leads to: without prefixes of their own they take nothing else.
    pub routed_trunks: BTreeSet<String>,
    pub groups: BTreeMap<Arc<str>, Arc<Group>>,
    pub group_numbers: BTreeMap<String, Arc<str>>,
    pub permissions: Vec<Permission>,
    pub fraud: Fraud,
    pub emergency: Emergency,
    /// Users that are named, and what to say of one that is not there.
    named: Vec<(String, Problem)>,
}

impl Routing {
    /// A problem for each user that is named and not known.
    pub fn unknown_users(&self, is_known: impl Fn(&str) -> bool) -> Vec<Problem> {
        let unknown = self.named.iter().filter(|(name, _)| !is_known(name));
        unknown.map(|(_, problem)| problem.clone()).collect()
    }
}

/// What may be named by a rule.
struct Names<'a> {
    trunks: BTreeSet<&'a str>,
    hours: BTreeMap<String, Arc<Hours>>,
    groups: BTreeSet<String>,
    folder: &'a Path,
    users: Vec<(String, Problem)>,
}

/// `trunks` are those that the file has; `general` is its `[general]`.
pub(super) fn read<'a>(
    root: &Section<'_>,
    general: Option<&Section<'_>>,
    folder: &'a Path,
    trunks: impl Iterator<Item = &'a str>,
) -> Routing {
    let country = general.and_then(country);
    let zone = general.and_then(|s| time_zone(s, "time_zone")).unwrap_or(TimeZone::UTC);
    let mut names = Names {
        trunks: trunks.collect(),
        hours: hours(root, &zone),
        groups: BTreeSet::new(),
        folder,
        users: Vec::new(),
    };
    let group_sections = root.sections("group");
    for section in &group_sections {
        names.groups.extend(section.string("name").map(|name| name.value));
    }
    let mut routing = Routing { country, ..Routing::default() };
    for section in group_sections {
        group(&section, &mut names, &mut routing);
        section.finish();
    }
    routes(root, &mut names, &mut routing);
    for section in root.sections("permission") {
        routing.permissions.extend(permission(&section, &mut names, country));
        section.finish();
    }
    routing.fraud = root.section("fraud").map(fraud).unwrap_or_default();
    for section in root.sections("destination_limit") {
        routing.fraud.limits.extend(destination_limit(&section));
        section.finish();
    }
    let section = root.section("emergency");
    routing.emergency = emergency(section.as_ref(), country, &names);
    if let Some(section) = section {
        section.finish();
    }
    routing.named = names.users;
    routing
}

fn country(general: &Section<'_>) -> Option<&'static Country> {
    let found = general.string("country")?;
    let country = Country::find(&found.value);
    if country.is_none() {
        let known: Vec<&str> = Country::all().map(|country| country.name).collect();
        let message = format!("{:?} is no country that is known here", found.value);
        let remedy = format!("write one of {}, or leave it out", known.join(", "));
        general.document().complain_about(&found, message, remedy);
    }
    country
}

fn time_zone(section: &Section<'_>, key: &'static str) -> Option<TimeZone> {
    let found = section.string(key)?;
    let zone = TimeZone::get(&found.value);
    if zone.is_err() {
        let message = format!("{:?} is no time zone", found.value);
        let remedy = "write a name such as \"Europe/Berlin\" or \"UTC\"";
        section.document().complain_about(&found, message, remedy);
    }
    zone.ok()
}

fn hours(root: &Section<'_>, usual: &TimeZone) -> BTreeMap<String, Arc<Hours>> {
    let mut all = BTreeMap::new();
    for section in root.sections("hours") {
        let name = name(&section, "office", |name| all.contains_key(name));
        let zone = time_zone(&section, "zone").unwrap_or_else(|| usual.clone());
        let open = section.strings("open").unwrap_or_default();
        let closed = section.strings("closed").unwrap_or_default();
        let plain = |list: &[Located<String>]| -> Vec<String> {
            list.iter().map(|text| text.value.clone()).collect()
        };
        // One by one, so that the place of a mistake is known.
        let mut is_fine = true;
        for (list, are_windows) in [(&open, true), (&closed, false)] {
            for text in list {
                let one = [text.value.clone()];
                let (windows, dates) =
                    if are_windows { (&one[..], &[][..]) } else { (&[][..], &one[..]) };
                if let Err(error) = Hours::new("", zone.clone(), windows, dates) {
                    let remedy = if are_windows {
                        "write for example \"mon-fri 08:00-18:00\" or \"22:00-06:00\""
                    } else {
                        "write for example \"2026-12-24\", \"12-25\" or \"2026-12-24..2027-01-01\""
                    };
                    section.document().complain_about(text, error.to_string(), remedy);
                    is_fine = false;
                }
            }
        }
        let hours = name.filter(|_| is_fine).and_then(|name| {
            Hours::new(&name, zone, &plain(&open), &plain(&closed)).ok().map(|hours| (name, hours))
        });
        all.extend(hours.map(|(name, hours)| (name, Arc::new(hours))));
        section.finish();
    }
    all
}

fn group(section: &Section<'_>, names: &mut Names<'_>, routing: &mut Routing) {
    let name = name(section, "sales", |name| routing.groups.contains_key(name));
    let members =
        section.required("members", "members = [\"alice\", \"bob\"]", section.strings("members"));
    let members = members.unwrap_or_default();
    if section.has("members") && members.is_empty() {
        let message = "a group without members answers nobody";
        section.document().complain_about(&section.here(), message, "name at least one user");
    }
    for member in &members {
        names.user(section, member);
    }
    let strategies =
        [Strategy::RingAll, Strategy::Hunt, Strategy::LongestIdle, Strategy::RoundRobin]
            .map(|strategy| (strategy.as_str(), strategy));
    let strategy = section.choice("strategy", &strategies);
    let time = |key, usual| {
        let range = Duration::from_secs(3)..Duration::from_secs(601);
        section.duration(key, range).map_or(Duration::from_secs(usual), |found| found.value)
    };
    let (member_ring, ring) = (time("member_ring", 15), time("ring", 60));
    let overflow = section.string("overflow");
    let overflow = overflow.and_then(|to| names.destination(section, &to));
    if matches!(overflow, Some(Destination::Trunk(_))) {
        let message = "an overflow needs a number, not a trunk alone";
        let remedy = "write for example \"number:+4930123456\"";
        section.document().complain_about(&section.here(), message, remedy);
    }
    let call_busy = section.boolean("call_busy").unwrap_or(false);
    let numbers = section.strings("numbers").unwrap_or_default();
    let Some(name) = name.map(Arc::<str>::from) else { return };
    for number in numbers {
        if routing.group_numbers.insert(number.value.clone(), name.clone()).is_some() {
            let message = format!("{} is another group's number already", number.value);
            section.document().complain_about(&number, message, "give it to one of them");
        }
    }
    let group = Group {
        name: name.clone(),
        members: members.into_iter().map(|member| member.value.into()).collect(),
        strategy: strategy.map_or(Strategy::default(), |found| found.value),
        member_ring,
        ring,
        call_busy,
        overflow,
    };
    routing.groups.insert(name, Arc::new(group));
}

fn routes(root: &Section<'_>, names: &mut Names<'_>, routing: &mut Routing) {
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for section in root.sections("route") {
        let name = name(&section, "germany", |name| known.contains(name));
        known.extend(name.clone());
        all.extend(route(&section, name, names));
        section.finish();
    }
    let leads_to = all.iter().flat_map(|(route, _)| &route.to);
    routing.routed_trunks = leads_to
        .filter_map(|to| match to {
            Destination::Trunk(trunk) => Some(trunk.to_string()),
            _ => None,
        })
        .collect();
    routing.routes = RouteTable::new(all.into_iter().flat_map(|(route, prefixes)| {
        // Whole numbers and beginnings are two rules of one name.
        let (exact, open): (Vec<_>, Vec<_>) = prefixes.into_iter().partition(|p| p.exact);
        let rule = |exact, prefixes: Vec<Prefix>| {
            let list = prefixes.into_iter().map(|p| (p.text, p.price)).collect::<Vec<_>>();
            (Route { exact, ..route.clone() }, list)
        };
        [rule(true, exact), rule(false, open)]
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .collect::<Vec<_>>()
    }));
}

/// What a number is to begin with, or to be.
struct Prefix {
    text: String,
    exact: bool,
    price: Option<u64>,
}

fn route(
    section: &Section<'_>,
    name: Option<String>,
    names: &mut Names<'_>,
) -> Option<(Route, Vec<Prefix>)> {
    let all = prefixes(section, names.folder);
    let to = section.required("to", "to = [\"trunk:carrier\"]", section.strings("to"));
    let to = to.unwrap_or_default();
    if section.has("to") && to.is_empty() {
        let message = "a route that leads nowhere refuses by mistake";
        section.document().complain_about(&section.here(), message, "write to = [\"refuse\"]");
    }
    let to: Vec<Destination> = to.iter().filter_map(|to| names.destination(section, to)).collect();
    let from_users = section.strings("from_users").unwrap_or_default();
    for user in &from_users {
        names.user(section, user);
    }
    let from_trunks = names.trunks(section, "from_trunks");
    let hours =
        [("hours", true), ("outside_hours", false)].into_iter().filter_map(|(key, inside)| {
            let found = section.string(key)?;
            let hours = names.hours.get(&found.value).cloned();
            if hours.is_none() {
                let message = format!("there is no [[hours]] of the name {:?}", found.value);
                section.document().complain_about(&found, message, "add it, or correct the name");
            }
            Some((hours?, inside))
        });
    let hours: Vec<(Arc<Hours>, bool)> = hours.collect();
    if hours.len() > 1 {
        let message = "hours and outside_hours exclude each other";
        section.document().complain_about(&section.here(), message, "keep one of them");
    }
    let priority = section.integer("priority", 0..1000).map_or(10, |n| n.value);
    let price = section.decimal("price").map(|price| price.value);
    let rewrite = trunk::rewrite(section);
    let caller_id = section.string("caller_id").map(|number| number.value);
    let go_on = section.strings("go_on").map(|words| causes(section, &words));
    let route = Route {
        name: name?.into(),
        exact: false,
        priority: u32::try_from(priority).unwrap_or(10),
        price,
        from_users: from_users.into_iter().map(|user| user.value).collect(),
        from_trunks: from_trunks.into_iter().collect(),
        hours: hours.into_iter().next(),
        rewrite,
        caller_id,
        to,
        go_on,
    };
    Some((route, all))
}

/// What numbers a route is for.
fn prefixes(section: &Section<'_>, folder: &Path) -> Vec<Prefix> {
    let prefixes = section.strings("prefixes");
    let numbers = section.strings("numbers");
    let rates = section.string("rates_file");
    let is_for_all = prefixes.is_none() && numbers.is_none() && rates.is_none();
    let plain = |list: Option<Vec<Located<String>>>, exact| {
        let list = list.unwrap_or_default().into_iter();
        list.map(move |text| Prefix { text: text.value, exact, price: None })
    };
    let mut all: Vec<Prefix> = plain(prefixes, false).chain(plain(numbers, true)).collect();
    if is_for_all {
        all.push(Prefix { text: String::new(), exact: false, price: None });
    }
    if let Some(file) = rates {
        match rates::read(&folder.join(&file.value)) {
            Ok(rates) => all.extend(rates.into_iter().map(|(text, price)| Prefix {
                text,
                exact: false,
                price: Some(price),
            })),
            Err(message) => {
                let remedy = "a line is a prefix, a comma and a price: +4930,0.012";
                section.document().complain_about(&file, message, remedy);
            }
        }
    }
    all
}

fn causes(section: &Section<'_>, words: &[Located<String>]) -> Causes {
    let mut found = Vec::new();
    for word in words {
        match Cause::ALL.iter().find(|cause| cause.as_str() == word.value) {
            Some(cause) => found.push(*cause),
            None => {
                let known: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
                let message = format!("{:?} is no cause", word.value);
                let remedy = format!("write some of {}", known.join(", "));
                section.document().complain_about(word, message, remedy);
            }
        }
    }
    Causes::of(&found)
}

fn permission(
    section: &Section<'_>,
    names: &mut Names<'_>,
    country: Option<&Country>,
) -> Option<Permission> {
    let usual = Permission::usual();
    let name = name(section, "default", |_| false);
    let users = section.strings("users").unwrap_or_default();
    for user in &users {
        names.user(section, user);
    }
    let international = section.boolean("international");
    if international == Some(false) && country.is_none() {
        let message = "without general.country nobody knows what is abroad";
        let remedy = "add country = \"..\" to [general], or use allow and deny";
        section.document().complain_about(&section.here(), message, remedy);
    }
    let count = |key, usual| {
        let found = section.integer(key, 0..10_001);
        found.and_then(|n| u32::try_from(n.value).ok()).unwrap_or(usual)
    };
    let permission = Permission {
        users: users.into_iter().map(|user| user.value).collect(),
        trunks: names.trunks(section, "trunks").into_iter().collect(),
        international: international.unwrap_or(true),
        allow: words(section, "allow"),
        deny: words(section, "deny"),
        high_risk: section.boolean("high_risk").unwrap_or(false),
        calls: count("calls", usual.calls),
        calls_per_minute: count("calls_per_minute", usual.calls_per_minute),
        caller_id: section.string("caller_id").map(|number| number.value),
        name: name?.into(),
    };
    Some(permission)
}

fn fraud(section: Section<'_>) -> Fraud {
    let usual = Fraud::default();
    let calls = section.integer("calls_per_country", 0..1_000_001);
    let fraud = Fraud {
        high_risk: section.has("high_risk").then(|| words(&section, "high_risk")),
        allow: words(&section, "allow"),
        calls_per_country: calls
            .and_then(|n| u32::try_from(n.value).ok())
            .unwrap_or(usual.calls_per_country),
        limits: Vec::new(),
    };
    section.finish();
    fraud
}

fn destination_limit(section: &Section<'_>) -> Option<DestinationLimit> {
    let name = name(section, "mobile", |_| false);
    let prefixes =
        section.required("prefixes", "prefixes = [\"+4915\"]", section.strings("prefixes"));
    let count = |key, high| section.integer(key, 0..high).and_then(|n| u32::try_from(n.value).ok());
    Some(DestinationLimit {
        calls: count("calls", 1_000_001),
        calls_per_minute: count("calls_per_minute", 10_001),
        prefixes: prefixes?.into_iter().map(|prefix| prefix.value).collect(),
        name: name?.into(),
    })
}

fn emergency(
    section: Option<&Section<'_>>,
    country: Option<&Country>,
    names: &Names<'_>,
) -> Emergency {
    let usual = country.map_or(&["112", "911"][..], |country| country.emergency);
    let numbers = section.and_then(|s| s.strings("numbers"));
    let numbers = match numbers {
        Some(numbers) => numbers.into_iter().map(|number| number.value).collect(),
        None => usual.iter().map(|number| (*number).to_owned()).collect(),
    };
    let trunks = |key| section.map(|s| names.trunks(s, key)).unwrap_or_default();
    Emergency {
        numbers,
        trunks: trunks("trunks").into_iter().map(Arc::from).collect(),
        from_trunks: trunks("from_trunks").into_iter().collect(),
    }
}

impl Names<'_> {
    /// Remembers that a user is named here.
    fn user(&mut self, section: &Section<'_>, user: &Located<String>) {
        let message = format!("there is no user {:?}", user.value);
        let remedy = format!("add it with crosspoint user add {}, or take it out", user.value);
        let problem = section.document().problem_at(user, message, remedy);
        self.users.push((user.value.clone(), problem));
    }

    fn trunks(&self, section: &Section<'_>, key: &'static str) -> Vec<String> {
        let named = section.strings(key).unwrap_or_default();
        named.into_iter().filter(|name| self.is_trunk(section, name)).map(|n| n.value).collect()
    }

    fn is_trunk(&self, section: &Section<'_>, name: &Located<String>) -> bool {
        let is_known = self.trunks.contains(name.value.rsplit(':').next().unwrap_or_default());
        if !is_known {
            let message = format!("there is no trunk {:?}", name.value);
            section.document().complain_about(
                name,
                message,
                "add a [[trunk]], or correct the name",
            );
        }
        is_known
    }

    fn destination(&mut self, section: &Section<'_>, to: &Located<String>) -> Option<Destination> {
        let playback = |word: &str| match word {
            "echo" => Some(Playback::Echo),
            "tone" => Some(Playback::Tone),
            "announcement" => Some(Playback::Announcement),
            _ => None,
        };
        match to.value.split_once(':').unwrap_or((to.value.as_str(), "")) {
            ("trunk", name) => self.is_trunk(section, to).then(|| Destination::Trunk(name.into())),
            ("user", name) if !name.is_empty() => {
                self.user(section, &to.with(name.to_owned()));
                Some(Destination::User(name.into()))
            }
            ("group", name) => {
                if !self.groups.contains(name) {
                    let message = format!("there is no group {name:?}");
                    section.document().complain_about(
                        to,
                        message,
                        "add a [[group]], or correct the name",
                    );
                }
                Some(Destination::Group(name.into()))
            }
            ("number", number) if !number.is_empty() => {
                Some(Destination::Number(number.to_owned()))
            }
            ("refuse", "") => Some(Destination::Refuse),
            (word, "") if playback(word).is_some() => playback(word).map(Destination::Builtin),
            _ => {
                let message = format!("{:?} is no place to call", to.value);
                let remedy = "write trunk:, user:, group: or number: with a name behind it, or echo, tone, announcement, refuse";
                section.document().complain_about(to, message, remedy);
                None
            }
        }
    }
}

/// The name of a rule, which no other of its kind may have.
fn name(section: &Section<'_>, example: &str, is_taken: impl Fn(&str) -> bool) -> Option<String> {
    let example = format!("name = {example:?}");
    let name = section.required("name", &example, section.string("name"))?;
    if is_taken(&name.value) {
        let message = format!("{:?} exists further up", name.value);
        section.document().complain_about(&name, message, "give each a name of its own");
    }
    if name.value.is_empty() || name.value.chars().any(char::is_control) {
        section.document().complain_about(&name, "this is no name", "write a word");
        return None;
    }
    Some(name.value)
}

fn words(section: &Section<'_>, key: &'static str) -> Vec<String> {
    section.strings(key).unwrap_or_default().into_iter().map(|word| word.value).collect()
}
