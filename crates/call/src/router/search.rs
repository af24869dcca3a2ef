//! The way through the rules: each is tried once, and says why it did not fit.

use std::sync::Arc;

use crosspoint_base::Private;

use super::forwarding::MAX_DIVERSIONS;
use super::numbering::{self, NumberForm};
use super::permission::{Denied, country_meter};
use super::{
    Attempt, Candidate, Causes, Decision, Destination, Device, Forwarding, Group, Meter, Onward,
    Origin, Outcome, Parking, Permission, Plan, Refusal, RouteRequest, Snapshot, Step, Strategy,
    Target, Terms, TrunkRoute, TrunkState, Usage, Verdict, Way, decision::in_words,
};
use crate::{Cause, DiversionReason, Diverted, Playback, Profile, Reach, Scope, SrtpPolicy};

pub(super) fn decide(request: &RouteRequest, plan: &Plan, snapshot: &dyn Snapshot) -> Decision {
    let mut search = Search::new(request, plan, snapshot);
    let found = search.begin();
    search.settle(found)
}

struct Search<'a> {
    request: &'a RouteRequest,
    plan: &'a Plan,
    snapshot: &'a dyn Snapshot,
    steps: Vec<Step>,
    called_user: Option<Arc<str>>,
    group: Option<Arc<str>>,
    meters: Vec<Meter>,
    /// How many numbers and groups led here one after the other.
    depth: usize,
    is_emergency: bool,
}

/// What to try, in order and never empty, or the rule that refused.
type Found = Result<Vec<Attempt>, Refusal>;

impl<'a> Search<'a> {
    fn new(request: &'a RouteRequest, plan: &'a Plan, snapshot: &'a dyn Snapshot) -> Self {
        Self {
            request,
            plan,
            snapshot,
            steps: Vec::new(),
            called_user: None,
            group: None,
            meters: Vec::new(),
            depth: 0,
            is_emergency: false,
        }
    }

    fn settle(self, found: Found) -> Decision {
        let ring = self.plan.ring_timeout.0;
        let (outcome, terms, later, refusal) = match found {
            Ok(mut attempts) => {
                attempts.truncate(MAX_ATTEMPTS);
                // Nobody waits for the last: there is nothing to go on to.
                if let Some(last) = attempts.last_mut() {
                    last.terms.patience = None;
                }
                let mut attempts = attempts.into_iter();
                match attempts.next() {
                    Some(Attempt { way, terms, .. }) => {
                        let outcome = match way {
                            Way::Ring(targets) => Outcome::Fork(targets),
                            Way::Play(playback) => Outcome::Builtin(playback),
                        };
                        (outcome, terms, attempts.collect(), None)
                    }
                    None => refused(Refusal::NoRoute, ring),
                }
            }
            Err(refusal) => refused(refusal, ring),
        };
        let is_refused = refusal.is_some();
        Decision {
            outcome,
            terms,
            later,
            called_user: self.called_user,
            group: self.group.filter(|_| !is_refused),
            meters: if is_refused { Vec::new() } else { self.meters },
            refusal,
            is_emergency: self.is_emergency && !is_refused,
            record: false,
            steps: self.steps,
        }
    }

    fn begin(&mut self) -> Found {
        let to = self.request.to.expose().as_str();
        if let Scope::In(registration) = self.request.scope {
            let owners = self.snapshot.owners_of(registration);
            return self.ring_devices("account", &owners);
        }
        let is_known = self.request.user.is_some() || self.request.trunk.is_some();
        if !is_known && self.request.scope == Scope::Everywhere {
            let detail = "neither a signed-in user nor a known trunk";
            return self.refuse("caller", Refusal::UnknownCaller, detail);
        }
        if to.is_empty() || to.len() > MAX_NUMBER || to.chars().any(char::is_control) {
            let detail = "empty, too long or not a number or user name";
            return self.refuse("number", Refusal::BadNumber, detail);
        }
        match &self.request.scope {
            Scope::Everywhere | Scope::In(_) => {}
            Scope::Network(network) => {
                let members = self.snapshot.members_of(network, to);
                return self.ring_devices("network", &members);
            }
            Scope::OwnPhone => return self.own_phone(to),
            Scope::Out(id) => {
                self.step("account", Verdict::Matched, "calls leave by the account's own sign-in");
                let reach = Reach::Registration { id: *id, number: self.request.to.clone() };
                let target = self.target(reach, Profile::Rtp(SrtpPolicy::Off), true);
                return Ok(vec![self.ring("the account's sign-in", vec![target])]);
            }
        }
        // Who sends a call on may not do it in the name of help.
        if self.request.origin.is_none()
            && let Some(found) = self.emergency(to)
        {
            return found;
        }
        self.number(to)
    }

    /// A call for help goes out by whatever can take it, before every other rule and limit.
    fn emergency(&mut self, to: &str) -> Option<Found> {
        let plan = self.plan;
        let rules = &plan.emergency;
        let is_name = to.starts_with(super::HELP);
        let number = match rules.numbers.get(to) {
            Some(number) => number,
            // Phones that know the service by its name leave the number to us (RFC 5031).
            None if is_name => rules.numbers.first()?,
            None => return None,
        };
        if let Some(trunk) = &self.request.trunk
            && !rules.from_trunks.contains(&**trunk)
        {
            let detail = format!("{to} is one, and trunk {trunk} is none of emergency.from_trunks");
            self.step("emergency numbers", Verdict::NotMatched, detail);
            return None;
        }
        let mut trunks: Vec<&TrunkRoute> = match rules.trunks.as_slice() {
            [] => plan.trunks.iter().collect(),
            named => named.iter().filter_map(|name| self.trunk(name)).collect(),
        };
        if trunks.is_empty() {
            self.step(
                "emergency numbers",
                Verdict::NotMatched,
                format!("{to} is one, and there is no trunk"),
            );
            return None;
        }
        // A trunk that is down may be the only one: it is tried, after the others.
        trunks.sort_by_key(|t| self.snapshot.trunk_state(&t.name) != TrunkState::Ready);
        self.is_emergency = true;
        let detail = format!("{to} is one: it goes out before every limit");
        self.step("emergency numbers", Verdict::Matched, detail);
        let attempts = trunks.into_iter().map(|trunk| {
            let number = Private(number.clone());
            let target = Target {
                reach: Reach::Trunk { name: trunk.name.clone(), number },
                profile: trunk.profile,
                video: false,
                bypass: false,
                user: None,
                caller: self.outside_caller(None),
            };
            let mut attempt = self.ring(&format!("trunk {}", trunk.name), vec![target]);
            // Whatever a trunk says to a call for help, another may do better.
            attempt.terms.go_on = Causes::of_person();
            attempt.terms.patience = Some(self.plan.patience.0);
            attempt
        });
        Some(Ok(attempts.collect()))
    }

    /// What a number means here: dialled, or led to by a rule.
    fn number(&mut self, dialled: &str) -> Found {
        let number = self.plan.country.map_or_else(|| dialled.to_owned(), |c| c.normalize(dialled));
        if number != dialled {
            let country = self.plan.country.map_or("", |c| c.name);
            self.step(
                "number",
                Verdict::Matched,
                format!("{dialled} is {number} (country {country})"),
            );
        }
        if let Some(playback) = self.plan.builtins.get(dialled) {
            let playback = *playback;
            self.step("built-in numbers", Verdict::Matched, format!("{dialled} is {playback:?}"));
            return Ok(vec![self.play(playback)]);
        }
        if self.plan.pull.contains(dialled) {
            let detail =
                format!("{dialled} takes over the caller's call from another device; it has none");
            return self.refuse("built-in numbers", Refusal::NoRoute, detail);
        }
        let user = self.request.user.as_ref();
        if let Some(parking) = user.and_then(|user| self.plan.features.parking(user, dialled)) {
            let detail = match parking {
                Parking::Orbit(lot) => {
                    format!("{dialled} parks calls that are transferred there, in lot {}", lot.name)
                }
                Parking::Slot(lot, _) => format!("nobody waits at {dialled} of lot {}", lot.name),
            };
            return self.refuse("parking", Refusal::NoRoute, detail);
        }
        self.step("built-in numbers", Verdict::NotMatched, format!("{dialled} is none of them"));
        let users = &self.plan.users;
        if let Some(user) = users.get(dialled).or_else(|| users.get(&number)) {
            return self.ring_user(&user.clone());
        }
        self.step("users", Verdict::NotMatched, format!("{dialled} is no user and no alias"));
        let groups = &self.plan.group_numbers;
        if let Some(group) = groups.get(dialled).or_else(|| groups.get(&number)) {
            return self.ring_group(&group.clone());
        }
        if !groups.is_empty() {
            self.step("groups", Verdict::NotMatched, format!("{dialled} is no group's number"));
        }
        if number.contains(' ') {
            return self.refuse("number", Refusal::BadNumber, "it has blanks and is no number");
        }
        if let Some(found) = self.by_routes(dialled, &number) {
            return found;
        }
        self.by_trunks(dialled, &number)
    }

    fn ring_user(&mut self, user: &Arc<str>) -> Found {
        let found = self.snapshot.devices_of(user);
        if self.called_user.is_none() {
            self.called_user = Some(user.clone());
        }
        if self.request.diverted.iter().any(|place| place.user.as_ref() == Some(user)) {
            let detail = format!("{user} has sent this call on already");
            return self.refuse("forwarding", Refusal::SentOnTooOften, detail);
        }
        let forwarding = self.plan.forwards.get(user);
        let always = forwarding.and_then(|f| f.always.as_ref());
        if let Some(to) = always {
            return self.send_on(user, DiversionReason::Unconditional, to);
        }
        if found.is_empty() {
            if let Some(to) = forwarding.and_then(Forwarding::when_away) {
                return self.send_on(user, DiversionReason::Unavailable, to);
            }
            let detail = format!("{user} exists and has no device signed in");
            return self.refuse("users", Refusal::NoDevice, detail);
        }
        self.step("users", Verdict::Matched, format!("{user} has {} device(s)", found.len()));
        let targets = self.devices(&found, Some(user), MAX_FORKS);
        let mut attempt = self.ring(&format!("every device of {user}"), targets);
        attempt.terms.go_on = Causes::of_person();
        if let Some(forwarding) = forwarding {
            self.send_on_later(user, forwarding, &mut attempt);
        }
        Ok(vec![attempt])
    }

    /// A user has the call go elsewhere, and is who it goes there for: by the user's permission,
    /// within the user's limits. Nobody calls for help in another's name.
    fn send_on(&mut self, user: &Arc<str>, reason: DiversionReason, to: &str) -> Found {
        let rule = format!("forwarding of {user}");
        if self.request.diverted.len() >= MAX_DIVERSIONS {
            let detail = format!("the call has been sent on {MAX_DIVERSIONS} times already");
            return self.refuse(rule, Refusal::SentOnTooOften, detail);
        }
        self.step(rule, Verdict::Matched, format!("{}: to {to}", reason.as_str()));
        let mut diverted = self.request.diverted.clone();
        diverted.push(self.diverted_by(user, reason));
        let origin = self.request.origin.clone().unwrap_or_else(|| Origin {
            user: self.request.user.clone(),
            trunk: self.request.trunk.clone(),
        });
        let request = RouteRequest {
            user: Some(user.clone()),
            trunk: None,
            from: self.request.from.clone(),
            to: Private(to.to_owned()),
            scope: Scope::Everywhere,
            diverted,
            is_transfer: false,
            origin: Some(origin),
        };
        let mut onward = Search::new(&request, self.plan, self.snapshot);
        onward.steps = std::mem::take(&mut self.steps);
        onward.depth = self.depth;
        let found = onward.number(to);
        let Search { steps, called_user, group, meters, .. } = onward;
        self.steps = steps;
        self.called_user = called_user;
        self.group = self.group.take().or(group);
        for meter in meters {
            if !self.meters.contains(&meter) {
                self.meters.push(meter);
            }
        }
        found
    }

    /// What a user has done with calls that nobody takes.
    fn send_on_later(&mut self, user: &Arc<str>, forwarding: &Forwarding, attempt: &mut Attempt) {
        let whens = [
            (DiversionReason::Busy, &forwarding.busy, &[Cause::Busy, Cause::Declined][..]),
            (DiversionReason::NoAnswer, &forwarding.no_answer, &[Cause::NoAnswer]),
            (DiversionReason::Unavailable, &forwarding.away, &[Cause::Unavailable]),
        ];
        for (reason, to, causes) in whens {
            let Some(to) = to else { continue };
            let detail = format!("{}: to {to}, if it comes to that", reason.as_str());
            self.step(format!("forwarding of {user}"), Verdict::Matched, detail);
            attempt.terms.onward.push(Onward {
                after: Causes::of(causes),
                by: self.diverted_by(user, reason),
                to: Private(to.clone()),
            });
        }
        if forwarding.no_answer.is_some() {
            attempt.terms.ring = forwarding.no_answer_after.min(attempt.terms.ring);
        }
    }

    fn diverted_by(&self, user: &Arc<str>, reason: DiversionReason) -> Diverted {
        Diverted {
            by: Private(user.to_string()),
            user: Some(user.clone()),
            reason,
            ..Diverted::default()
        }
    }

    /// Where the caller goes on without its browser: the desk phone, or what it carries along.
    fn own_phone(&mut self, number: &str) -> Found {
        let Some(user) = self.request.user.clone() else {
            return self.refuse("own phone", Refusal::UnknownCaller, "no user's");
        };
        let mut phones = self.snapshot.devices_of(&user);
        phones.retain(|device| device.profile != Profile::WebRtc);
        if !phones.is_empty() {
            let detail = format!("{user} has {} phone(s)", phones.len());
            self.step("own phone", Verdict::Matched, detail);
            let targets = self.devices(&phones, Some(&user), MAX_FORKS);
            return Ok(vec![self.ring(&format!("every phone of {user}"), targets)]);
        }
        self.step("own phone", Verdict::NotMatched, format!("{user} has no phone signed in"));
        let whole = self.plan.country.map_or_else(|| number.to_owned(), |c| c.normalize(number));
        let mut attempts = match self.by_routes(number, &whole) {
            Some(found) => found?,
            None => self.by_trunks(number, &whole)?,
        };
        // It is still the user's side of the call.
        for attempt in &mut attempts {
            if let Way::Ring(targets) = &mut attempt.way {
                targets.iter_mut().for_each(|target| target.user = Some(user.clone()));
            }
        }
        Ok(attempts)
    }

    /// To those that one rule alone names.
    fn ring_devices(&mut self, rule: &str, found: &[Device]) -> Found {
        if found.is_empty() {
            return self.refuse(rule, Refusal::NoDevice, "nobody of that name is signed in");
        }
        self.step(rule, Verdict::Matched, format!("{} device(s)", found.len()));
        let targets = self.devices(found, None, MAX_FORKS);
        Ok(vec![self.ring(rule, targets)])
    }

    fn devices(&self, found: &[Device], user: Option<&Arc<str>>, most: usize) -> Vec<Target> {
        let caller = self.inside_caller();
        let target = |d: &Device| Target {
            reach: Reach::Binding(d.binding),
            profile: d.profile,
            video: true,
            bypass: self.plan.bypass_phones && d.profile != Profile::WebRtc,
            user: user.cloned(),
            caller: caller.clone(),
        };
        found.iter().take(most).map(target).collect()
    }

    fn ring_group(&mut self, name: &Arc<str>) -> Found {
        let rule = format!("group {name}");
        let Some(group) = self.plan.groups.get(name).cloned() else {
            return self.refuse(&rule, Refusal::NoRoute, "there is no such group");
        };
        if self.depth >= MAX_DEPTH {
            return self.refuse(
                &rule,
                Refusal::NoRoute,
                "too many groups and numbers lead on to each other",
            );
        }
        self.depth += 1;
        self.group.get_or_insert_with(|| name.clone());
        let (mut attempts, busy) = self.members(&group, &rule);
        if let Some(overflow) = &group.overflow {
            let detail = "what follows when nobody has answered";
            self.step(format!("{rule} overflow"), Verdict::Matched, detail);
            // What the overflow says counts only when nobody of the group can be called.
            match self.follow(overflow) {
                Ok(more) => attempts.extend(more),
                Err(refusal) if attempts.is_empty() => return Err(refusal),
                Err(_) => {}
            }
        }
        match (attempts.is_empty(), busy) {
            (false, _) => Ok(attempts),
            (true, true) => {
                self.refuse(&rule, Refusal::GroupBusy, "every member who is there is in a call")
            }
            (true, false) => self.refuse(&rule, Refusal::NoDevice, "no member is signed in"),
        }
    }

    /// Who of a group is called, and whether somebody was left out for being in a call.
    fn members(&mut self, group: &Group, rule: &str) -> (Vec<Attempt>, bool) {
        let idle_since = |user: &str| self.snapshot.idle_since(user);
        let order = group.order(self.snapshot.turn_of(&group.name), idle_since);
        let (mut called, mut busy) = (Vec::new(), false);
        for member in order {
            let devices = self.snapshot.devices_of(&member);
            let left_out = if !self.plan.users.contains_key(&*member) {
                Some("is no user")
            } else if self.request.user.as_ref() == Some(&member) {
                Some("is the caller")
            } else if devices.is_empty() {
                Some("has no device signed in")
            } else if !group.call_busy && self.snapshot.is_busy(&member) {
                busy = true;
                Some("is in a call")
            } else {
                None
            };
            match left_out {
                Some(why) => self.step(rule, Verdict::NotMatched, format!("{member} {why}")),
                None => called.push((member, devices)),
            }
        }
        if called.is_empty() {
            return (Vec::new(), busy);
        }
        let names: Vec<&str> = called.iter().map(|(member, _)| &**member).collect();
        let detail = format!("{}: {}", group.strategy.as_str(), names.join(", "));
        self.step(rule, Verdict::Matched, detail);
        let attempt = |what: String, targets, ring| {
            let mut terms = self.terms(ring);
            terms.go_on = Causes::of_person();
            // One member must not take the call away from the others.
            terms.may_redirect = false;
            Attempt { what, way: Way::Ring(targets), terms }
        };
        if group.strategy == Strategy::RingAll {
            let targets = called
                .iter()
                .flat_map(|(member, devices)| self.devices(devices, Some(member), MAX_FORKS));
            let targets: Vec<Target> = targets.take(MAX_GROUP_FORKS).collect();
            return (
                vec![attempt(format!("all of group {}", group.name), targets, group.ring)],
                busy,
            );
        }
        let each = called.iter().map(|(member, devices)| {
            let targets = self.devices(devices, Some(member), MAX_FORKS);
            attempt(format!("{member} of group {}", group.name), targets, group.member_ring)
        });
        (each.collect(), busy)
    }

    /// A place that a rule names.
    fn follow(&mut self, to: &Destination) -> Found {
        match to {
            Destination::User(user) => match self.plan.users.get(&**user).cloned() {
                Some(user) => self.ring_user(&user),
                None => self.refuse("users", Refusal::NoRoute, format!("{user} is no user")),
            },
            Destination::Group(group) => self.ring_group(group),
            Destination::Builtin(playback) => Ok(vec![self.play(*playback)]),
            Destination::Number(number) => {
                if self.depth >= MAX_DEPTH {
                    let detail = "too many groups and numbers lead on to each other";
                    return self.refuse("number", Refusal::NoRoute, detail);
                }
                self.depth += 1;
                self.number(number)
            }
            // The rules that name trunks ask for them by themselves.
            Destination::Trunk(trunk) => {
                self.refuse(format!("trunk {trunk}"), Refusal::NoRoute, "a number is needed for it")
            }
            Destination::Refuse => Err(Refusal::Closed),
        }
    }

    /// By the routes; `None` when none of them is for this call.
    fn by_routes(&mut self, dialled: &str, number: &str) -> Option<Found> {
        if self.plan.routes.is_empty() {
            return None;
        }
        let spellings = if dialled == number { &[number][..] } else { &[number, dialled] };
        let candidates = self.plan.routes.find(spellings);
        if candidates.is_empty() {
            let count = self.plan.routes.prefixes();
            let detail = format!("{number} begins with none of their {count} prefix(es)");
            self.step("routes", Verdict::NotMatched, detail);
            return None;
        }
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut refusal = None;
        for candidate in candidates {
            let rule = format!("route {}", candidate.route.name);
            if let Err(detail) = self.holds(&candidate) {
                self.step(rule, Verdict::NotMatched, detail);
                continue;
            }
            let spelling = if number.starts_with(&candidate.prefix) { number } else { dialled };
            let Some(changed) = candidate.route.rewrite.apply(spelling) else {
                self.step(
                    rule,
                    Verdict::NotMatched,
                    format!("its pattern does not fit {spelling}"),
                );
                continue;
            };
            if !attempts.is_empty() && !candidate.route.is_outward() {
                continue;
            }
            match self.along(&candidate, &rule, &changed) {
                Ok(found) => {
                    let is_last = !candidate.route.is_outward();
                    attempts.extend(found);
                    if is_last || attempts.len() >= MAX_ATTEMPTS {
                        break;
                    }
                }
                Err(found) if attempts.is_empty() => {
                    refusal.get_or_insert(found);
                    // What a caller may not call by one trunk it may not by another.
                    if !found.is_of_trunk() {
                        return Some(Err(found));
                    }
                }
                Err(_) => break,
            }
        }
        match (attempts.is_empty(), refusal) {
            (false, _) => Some(Ok(attempts)),
            (true, Some(refusal)) => Some(Err(refusal)),
            (true, None) => None,
        }
    }

    /// Whether a route is for this caller, at this time; why not, if not.
    fn holds(&self, candidate: &Candidate) -> Result<(), String> {
        let route = &candidate.route;
        let is_for_all = route.from_users.is_empty() && route.from_trunks.is_empty();
        // It may lead the number to its user, whose browsers are what the call leaves.
        if self.request.scope == Scope::OwnPhone && !route.is_outward() {
            return Err("it leads to no trunk, and the user's phone is outside".to_owned());
        }
        match (&self.request.user, &self.request.trunk) {
            (_, Some(trunk)) if is_for_all && route.to.iter().any(is_trunk) => {
                return Err(format!(
                    "it leads outside, and trunk {trunk} is not in its from_trunks"
                ));
            }
            _ if is_for_all => {}
            (Some(user), _) if !route.from_users.contains(&**user) => {
                return Err(format!("it is not for {user}"));
            }
            (None, Some(trunk)) if !route.from_trunks.contains(&**trunk) => {
                return Err(format!("it is not for calls from trunk {trunk}"));
            }
            _ => {}
        }
        if let Some((hours, inside)) = &route.hours {
            let (is_open, why) = hours.check(self.snapshot.now());
            if is_open != *inside {
                return Err(why);
            }
        }
        Ok(())
    }

    /// Everything that a route leads to.
    fn along(&mut self, candidate: &Candidate, rule: &str, number: &str) -> Found {
        let route = candidate.route.clone();
        let price = candidate.price.map(|price| format!(", price {}", decimal(price)));
        let detail = format!(
            "prefix {:?}, priority {}{}",
            candidate.prefix,
            route.priority,
            price.unwrap_or_default()
        );
        self.step(rule, Verdict::Matched, detail);
        let mut attempts = Vec::new();
        let mut refusal = None;
        for to in &route.to {
            let found = match to {
                Destination::Refuse => self.refuse(rule, Refusal::Closed, "it leads nowhere"),
                Destination::Trunk(name) => match self.trunk(name) {
                    Some(trunk) => self.over(trunk, number, route.caller_id.as_deref()),
                    None => self.refuse(
                        format!("trunk {name}"),
                        Refusal::NoTrunk,
                        "there is no such trunk",
                    ),
                },
                other => self.follow(other),
            };
            match found {
                Ok(found) => attempts.extend(found),
                Err(found) => {
                    refusal.get_or_insert(found);
                }
            }
        }
        if let Some(go_on) = route.go_on {
            for attempt in &mut attempts {
                attempt.terms.go_on = go_on;
            }
        }
        match refusal {
            Some(refusal) if attempts.is_empty() => Err(refusal),
            _ => Ok(attempts),
        }
    }

    /// By the trunks that take numbers without a route.
    fn by_trunks(&mut self, dialled: &str, number: &str) -> Found {
        if let Some(from) = &self.request.trunk {
            let detail = format!("a call from trunk {from} may not leave over a trunk");
            return self.refuse("trunks", Refusal::TrunkToTrunk, detail);
        }
        let plan = self.plan;
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut refusal = None;
        for trunk in plan.trunks.iter().filter(|trunk| trunk.is_default) {
            let rule = format!("trunk {}", trunk.name);
            let fits =
                |p: &String| dialled.starts_with(p.as_str()) || number.starts_with(p.as_str());
            if !trunk.prefixes.is_empty() && !trunk.prefixes.iter().any(fits) {
                self.step(rule, Verdict::NotMatched, format!("{dialled} has none of its prefixes"));
                continue;
            }
            let spelled = if trunk.form == NumberForm::Dialled { dialled } else { number };
            if self.sent(trunk, spelled).is_none() {
                self.step(rule, Verdict::NotMatched, "its pattern does not fit");
                continue;
            }
            match self.over(trunk, spelled, None) {
                Ok(found) => attempts.extend(found),
                Err(found) if found.is_of_trunk() => {
                    refusal.get_or_insert(found);
                }
                Err(found) if attempts.is_empty() => return Err(found),
                Err(_) => break,
            }
            if attempts.len() >= MAX_ATTEMPTS {
                break;
            }
        }
        match (attempts.is_empty(), refusal) {
            (false, _) => Ok(attempts),
            (true, Some(refusal)) => Err(refusal),
            (true, None) => {
                self.refuse("trunks", Refusal::NoRoute, format!("no trunk takes {dialled}"))
            }
        }
    }

    /// Over one trunk, if the caller may and the trunk can.
    fn over(&mut self, trunk: &TrunkRoute, number: &str, caller_id: Option<&str>) -> Found {
        let rule = format!("trunk {}", trunk.name);
        let Some(sent) = self.sent(trunk, number) else {
            return self.refuse(
                rule,
                Refusal::NoTrunk,
                format!("its pattern does not fit {number}"),
            );
        };
        self.permitted(trunk, number, &sent)?;
        match self.snapshot.trunk_state(&trunk.name) {
            TrunkState::Ready => {}
            TrunkState::Full => {
                return self.refuse(rule, Refusal::TrunkFull, "it has all the calls it may have");
            }
            TrunkState::Down => {
                return self.refuse(rule, Refusal::TrunkDown, "nothing there answers");
            }
        }
        self.step(rule, Verdict::Matched, format!("{number} is dialled as {sent}"));
        let target = Target {
            reach: Reach::Trunk { name: trunk.name.clone(), number: Private(sent) },
            profile: trunk.profile,
            video: trunk.video,
            bypass: trunk.bypass,
            user: None,
            caller: self.outside_caller(caller_id),
        };
        let targets = vec![target];
        let what = in_words(&targets);
        let mut attempt = self.ring(&what, targets);
        attempt.terms.go_on = Causes::of_network();
        attempt.terms.patience = Some(self.plan.patience.0);
        Ok(vec![attempt])
    }

    /// What a trunk is sent for a number.
    fn sent(&self, trunk: &TrunkRoute, number: &str) -> Option<String> {
        let number = self.plan.country.map_or_else(
            || match trunk.form {
                NumberForm::E164 => number.trim_start_matches('+').to_owned(),
                _ => number.to_owned(),
            },
            |country| match trunk.form {
                NumberForm::Dialled => number.to_owned(),
                form => country.print(&country.normalize(number), form),
            },
        );
        trunk.rewrite.apply(&number)
    }

    /// Permission, high risk and caps: what was dialled and what is sent must both pass, so that a
    /// prefix that is cut off on the way hides nothing.
    fn permitted(&mut self, trunk: &TrunkRoute, number: &str, sent: &str) -> Result<(), Refusal> {
        let plan = self.plan;
        let usual = Permission::usual();
        let permission = permission_of(plan, self.request).unwrap_or(&usual);
        let mut meters = Vec::new();
        let mut said = String::new();
        for spelling in self.spellings(trunk, number, sent) {
            match permission.check(&spelling, plan.country, &plan.fraud) {
                Ok(why) if said.is_empty() => said = why,
                Ok(_) => {}
                Err(Denied::Permission(detail)) => {
                    return self.refuse("permission", Refusal::Permission, detail).map(drop);
                }
                Err(Denied::HighRisk(detail)) => {
                    return self.refuse("high risk", Refusal::HighRisk, detail).map(drop);
                }
            }
            self.destination(&spelling, &mut meters)?;
        }
        self.step_once("permission", said);
        let meter = match (&self.request.user, &self.request.trunk) {
            (Some(user), _) => Meter::User(user.clone()),
            (None, Some(from)) => Meter::Trunk(from.clone()),
            (None, None) => return Ok(()),
        };
        let Usage { calls, in_last_minute } = self.snapshot.usage(&meter);
        let who = self.request.user.as_ref().or(self.request.trunk.as_ref());
        let who = who.map_or("", |who| who);
        if calls >= permission.calls {
            let detail = format!(
                "{who} has {calls} call(s) outside, and permission {} allows {} at once",
                permission.name, permission.calls
            );
            return self.refuse("caller's limit", Refusal::CallerCalls, detail).map(drop);
        }
        if in_last_minute >= permission.calls_per_minute {
            let detail = format!(
                "{who} began {in_last_minute} call(s) outside within a minute, and permission {} allows {}",
                permission.name, permission.calls_per_minute
            );
            return self.refuse("caller's limit", Refusal::CallerRate, detail).map(drop);
        }
        meters.push(meter);
        for meter in meters {
            if !self.meters.contains(&meter) {
                self.meters.push(meter);
            }
        }
        Ok(())
    }

    /// Caps of where the call goes.
    fn destination(&mut self, number: &str, meters: &mut Vec<Meter>) -> Result<(), Refusal> {
        let plan = self.plan;
        for limit in &plan.fraud.limits {
            if !limit.prefixes.iter().any(|p| number.starts_with(p.as_str())) {
                continue;
            }
            let rule = format!("limit {}", limit.name);
            let meter = Meter::Limit(limit.name.clone());
            let Usage { calls, in_last_minute } = self.snapshot.usage(&meter);
            if limit.calls.is_some_and(|most| calls >= most) {
                let detail = format!("{calls} call(s) go there, as many as may");
                return self.refuse(rule, Refusal::DestinationCalls, detail).map(drop);
            }
            if limit.calls_per_minute.is_some_and(|most| in_last_minute >= most) {
                let detail =
                    format!("{in_last_minute} call(s) began within a minute, as many as may");
                return self.refuse(rule, Refusal::DestinationRate, detail).map(drop);
            }
            meters.push(meter);
        }
        if let Some(meter) = country_meter(number, plan.country) {
            let calls = self.snapshot.usage(&meter).calls;
            if calls >= plan.fraud.calls_per_country {
                let code = numbering::country_code(number).unwrap_or_default();
                let detail = format!(
                    "{calls} call(s) go to +{code}, as many as fraud.calls_per_country allows"
                );
                return self.refuse("limit", Refusal::DestinationCalls, detail).map(drop);
            }
            meters.push(meter);
        }
        Ok(())
    }

    /// All that a number may turn out to mean on its way.
    fn spellings(&self, trunk: &TrunkRoute, number: &str, sent: &str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut add = |text: String| {
            if !all.contains(&text) {
                all.push(text);
            }
        };
        for text in [number, sent] {
            match self.plan.country {
                Some(country) => add(country.normalize(text)),
                // Without a country both usual ways to dial abroad count as that.
                None => {
                    let rest = text.strip_prefix("00").or_else(|| text.strip_prefix("011"));
                    match rest.filter(|rest| numbering::is_e164(rest)) {
                        Some(rest) => add(format!("+{rest}")),
                        None => add(text.to_owned()),
                    }
                }
            }
        }
        if trunk.form == NumberForm::E164 && numbering::is_e164(sent) {
            add(format!("+{sent}"));
        }
        all
    }

    /// What a called party outside is shown.
    fn outside_caller(&self, by_route: Option<&str>) -> Option<Private<String>> {
        let by_permission =
            || permission_of(self.plan, self.request).and_then(|p| p.caller_id.as_deref());
        let number_of = |user: &Option<Arc<str>>| {
            self.plan.outside_numbers.get(user.as_ref()?).map(String::as_str)
        };
        // A call that is sent on is still its caller's, and shows the caller.
        if let Some(origin) = &self.request.origin {
            let shown = by_route.or_else(|| number_of(&origin.user));
            return match (shown, &origin.user) {
                (Some(shown), _) => Some(Private(shown.to_owned())),
                (None, None) => None,
                (None, Some(_)) => by_permission()
                    .or_else(|| number_of(&self.request.user))
                    .map(|shown| Private(shown.to_owned())),
            };
        }
        let own = || number_of(&self.request.user);
        by_route.or_else(by_permission).or_else(own).map(|shown| Private(shown.to_owned()))
    }

    /// What one of our own is shown: numbers from outside in their whole form.
    fn inside_caller(&self) -> Option<Private<String>> {
        let (country, from) = (self.plan.country?, self.request.from.expose());
        let origin = self.request.origin.as_ref().and_then(|origin| origin.trunk.as_ref());
        self.request.trunk.as_ref().or(origin)?;
        let whole = country.normalize(from);
        (whole != *from).then_some(Private(whole))
    }

    fn trunk(&self, name: &str) -> Option<&'a TrunkRoute> {
        self.plan.trunks.iter().find(|trunk| *trunk.name == *name)
    }

    fn target(&self, reach: Reach, profile: Profile, video: bool) -> Target {
        Target { reach, profile, video, bypass: false, user: None, caller: None }
    }

    fn ring(&self, what: &str, targets: Vec<Target>) -> Attempt {
        let terms = self.terms(self.plan.ring_timeout.0);
        Attempt { what: what.to_owned(), way: Way::Ring(targets), terms }
    }

    fn play(&self, playback: Playback) -> Attempt {
        Attempt {
            what: format!("answered here: {playback:?}").to_lowercase(),
            way: Way::Play(playback),
            terms: self.terms(self.plan.ring_timeout.0),
        }
    }

    fn terms(&self, ring: std::time::Duration) -> Terms {
        let mut diverted = self.request.diverted.clone();
        for place in &mut diverted {
            let number = place.user.as_ref().and_then(|user| self.plan.outside_numbers.get(user));
            place.outside = number.cloned().map(Private);
        }
        Terms { diverted, ..Terms::ring_for(ring) }
    }

    fn step(&mut self, rule: impl Into<String>, verdict: Verdict, detail: impl Into<String>) {
        if self.steps.len() < MAX_STEPS {
            self.steps.push(Step { rule: rule.into(), verdict, detail: detail.into() });
        }
    }

    /// What several trunks would say alike is said once.
    fn step_once(&mut self, rule: &str, detail: String) {
        if !self.steps.iter().any(|step| step.rule == rule && step.detail == detail) {
            self.step(rule, Verdict::Matched, detail);
        }
    }

    fn refuse(
        &mut self,
        rule: impl Into<String>,
        refusal: Refusal,
        detail: impl Into<String>,
    ) -> Found {
        // The rule that refuses is told, however many others were.
        self.steps.truncate(MAX_STEPS);
        self.steps.push(Step {
            rule: rule.into(),
            verdict: Verdict::Refused,
            detail: detail.into(),
        });
        Err(refusal)
    }
}

fn refused(
    refusal: Refusal,
    ring: std::time::Duration,
) -> (Outcome, Terms, Vec<Attempt>, Option<Refusal>) {
    (Outcome::Refused(refusal.cause()), Terms::ring_for(ring), Vec::new(), Some(refusal))
}

/// The rules for a caller: those that name it, else those for all.
fn permission_of<'p>(plan: &'p Plan, request: &RouteRequest) -> Option<&'p Permission> {
    let names = |permission: &&Permission| match (&request.user, &request.trunk) {
        (Some(user), _) => permission.users.contains(&**user),
        (None, Some(trunk)) => permission.trunks.contains(&**trunk),
        (None, None) => false,
    };
    let named = plan.permissions.iter().find(names);
    named.or_else(|| plan.permissions.iter().find(|permission| permission.is_for_all()))
}

fn is_trunk(to: &Destination) -> bool {
    matches!(to, Destination::Trunk(_))
}

/// Millionths as people write them.
fn decimal(millionths: u64) -> String {
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    let text = text.trim_end_matches('0');
    text.trim_end_matches('.').to_owned()
}

/// Longer names than any numbering plan or sensible user name.
const MAX_NUMBER: usize = 128;
/// Devices of one user that ring at once.
const MAX_FORKS: usize = 16;
/// Devices of a group that ring at once.
const MAX_GROUP_FORKS: usize = 64;
/// Places that one call tries one after the other.
const MAX_ATTEMPTS: usize = 16;
/// Groups and numbers that lead on to each other.
const MAX_DEPTH: usize = 5;
/// Rules that are told of.
const MAX_STEPS: usize = 100;
