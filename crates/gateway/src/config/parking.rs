//! `[[parking]]`: where calls wait until somebody takes them up.

use std::ops::RangeInclusive;
use std::time::Duration;

use crosspoint_call::router::ParkingLot;

use super::reader::Section;

pub(super) fn read(root: &Section<'_>) -> Vec<ParkingLot> {
    let mut lots: Vec<ParkingLot> = Vec::new();
    for section in root.sections("parking") {
        let name = section.required("name", "name = \"office\"", section.string("name"));
        if let Some(name) = name.as_ref().filter(|n| lots.iter().any(|l| *l.name == *n.value)) {
            let message = format!("a lot {:?} exists further up", name.value);
            section.document().complain_about(name, message, "give each lot a name of its own");
        }
        let slots = section.required("slots", "slots = \"701-720\"", section.string("slots"));
        let range = slots.as_ref().and_then(|slots| range(&slots.value));
        if let (Some(slots), None) = (&slots, &range) {
            let message = format!("{:?} is no range of up to {MAX_SLOTS} numbers", slots.value);
            section.document().complain_about(slots, message, "write for example \"701-720\"");
        }
        let limits = Duration::from_secs(10)..Duration::from_secs(3601);
        let timeout = section.duration("timeout", limits).map_or(USUAL, |d| d.value);
        let orbit = section.string("orbit").map(|orbit| orbit.value);
        let users = section.strings("users").unwrap_or_default();
        let users = users.into_iter().map(|user| user.value.as_str().into()).collect();
        if let (Some(name), Some(slots)) = (name, range) {
            lots.push(ParkingLot {
                name: name.value.as_str().into(),
                orbit,
                slots,
                timeout,
                users,
            });
        }
        section.finish();
    }
    lots
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number =
        |text: &str| text.trim().parse::<u32>().ok().filter(|n| n.to_string() == text.trim());
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last - first < MAX_SLOTS).then_some(first..=last)
}

const USUAL: Duration = Duration::from_secs(60);
const MAX_SLOTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_a_range_of_plain_numbers() {
        assert_eq!(range("701-720"), Some(701..=720));
        assert_eq!(range("5"), Some(5..=5));
        for bad in ["", "a", "720-701", "07-09", "1-5000", "-5", "1-"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
