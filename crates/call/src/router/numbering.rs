//! Telephone numbers as people dial them in a country, and the same numbers in E.164.
//!
//! A [`Country`] knows how calls abroad and within it are dialled there, which numbers are for
//! emergencies and which cost the caller more than a call. Everything here is a pure function of
//! text: [`Country::normalize`] of its own result changes nothing.

/// How a country dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166-1 alpha-2, in lower case.
    pub name: &'static str,
    /// The country code of E.164.
    pub code: &'static str,
    /// Dialled before a country code.
    pub international: &'static str,
    /// Dialled before a number of the same country; empty where there is none.
    pub national: &'static str,
    /// How many digits a number of the country has that is dialled without any prefix; `(0, 0)`
    /// where the prefix is needed.
    pub bare: (usize, usize),
    pub emergency: &'static [&'static str],
    /// Numbers that cost extra, without the country code.
    pub premium: &'static [&'static str],
}

/// In which form a trunk wants numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumberForm {
    /// As it was dialled.
    #[default]
    Dialled,
    /// `+4930123456`.
    Plus,
    /// `4930123456`.
    E164,
    /// As it is dialled in our country: `030123456`, abroad `0044…`.
    National,
}

impl Country {
    /// The country of an ISO 3166-1 alpha-2 code, in either case.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        COUNTRIES.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// All countries that are known, by their names.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        COUNTRIES.iter()
    }

    /// `+` and digits for what is a complete number, and what was dialled (without the marks that
    /// people write between digits) for everything else: extensions, short numbers, names.
    #[must_use]
    pub fn normalize(&self, dialled: &str) -> String {
        let Some(plain) = plain_digits(dialled) else { return dialled.to_owned() };
        if plain.starts_with('+') {
            return plain;
        }
        if let Some(rest) = plain.strip_prefix(self.international)
            && is_e164(rest)
        {
            return format!("+{rest}");
        }
        // North America dials its own country code as the prefix.
        let shortest = if self.national == self.code { 10 } else { 3 };
        if !self.national.is_empty()
            && let Some(rest) = plain.strip_prefix(self.national)
            && !rest.starts_with('0')
            && rest.len() >= shortest
            && is_e164(&format!("{}{rest}", self.code))
        {
            return format!("+{}{rest}", self.code);
        }
        let (least, most) = self.bare;
        if (least.max(1)..=most).contains(&plain.len()) && !self.emergency.contains(&&*plain) {
            return format!("+{}{plain}", self.code);
        }
        plain
    }

    /// Whether a normalized number lies in another country.
    #[must_use]
    pub fn is_abroad(&self, number: &str) -> bool {
        let Some(digits) = number.strip_prefix('+') else { return false };
        // Many countries share the code 1; calls among the two large ones are no calls abroad.
        !digits.starts_with(self.code) || (self.code == "1" && is_nanp_island(digits))
    }

    /// A normalized number in the form that a trunk wants.
    #[must_use]
    pub fn print(&self, number: &str, form: NumberForm) -> String {
        let Some(digits) = number.strip_prefix('+') else { return number.to_owned() };
        match form {
            NumberForm::Dialled | NumberForm::Plus => number.to_owned(),
            NumberForm::E164 => digits.to_owned(),
            NumberForm::National => match digits.strip_prefix(self.code) {
                Some(rest) => format!("{}{rest}", self.national),
                None => format!("{}{digits}", self.international),
            },
        }
    }
}

/// Digits, with a `+` in front if there was one, of a number as people write it; `None` when it is
/// a name or has anything else in it.
fn plain_digits(dialled: &str) -> Option<String> {
    let (plus, rest) = match dialled.strip_prefix('+') {
        // `+49 (0) 30` is an old habit in letterheads; nobody dials that nought.
        Some(rest) => ("+", rest.replacen("(0)", "", 1)),
        None => ("", dialled.to_owned()),
    };
    let is_mark = |c: char| matches!(c, '-' | '.' | '(' | ')' | '/' | ' ');
    let mut plain = plus.to_owned();
    for c in rest.chars() {
        match c {
            '0'..='9' => plain.push(c),
            c if is_mark(c) => {}
            _ => return None,
        }
    }
    let is_whole = if plus.is_empty() { !plain.is_empty() } else { is_e164(&plain[1..]) };
    is_whole.then_some(plain)
}

/// Whether digits can be a number of E.164: a country code, which never begins with a nought, and
/// no more than 15 in all.
#[must_use]
pub fn is_e164(digits: &str) -> bool {
    (4..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The country code at the front of a number that begins with `+` (ITU-T E.164, list of assigned
/// codes: those of one and of two digits are few, all others have three).
#[must_use]
pub fn country_code(number: &str) -> Option<&str> {
    let digits = number.strip_prefix('+')?;
    let length = match digits.get(..2)? {
        two if two.starts_with('1') || two.starts_with('7') => 1,
        "20" | "27" | "30" | "31" | "32" | "33" | "34" | "36" | "39" | "40" | "41" | "43"
        | "44" | "45" | "46" | "47" | "48" | "49" | "51" | "52" | "53" | "54" | "55" | "56"
        | "57" | "58" | "60" | "61" | "62" | "63" | "64" | "65" | "66" | "81" | "82" | "84"
        | "86" | "90" | "91" | "92" | "93" | "94" | "95" | "98" => 2,
        _ => 3,
    };
    digits.get(..length)
}

fn is_nanp_island(digits: &str) -> bool {
    digits.get(1..4).is_some_and(|area| ISLANDS.contains(&area))
}

/// Numbers abroad that are refused unless they are allowed: satellite and world-wide premium
/// services, and destinations that fraud is known to be sent to.
pub const HIGH_RISK: &[&str] = &[
    "+870", "+878", "+881", "+882", "+883", "+888", "+979", "+991", // satellites, world-wide
    "+220", "+224", "+232", "+235", "+239", "+245", "+246", "+247", "+252", "+269", "+290", "+355",
    "+500", "+53", "+674", "+675", "+676", "+677", "+678", "+681", "+682", "+683", "+685", "+686",
    "+688", "+690", "+960", // countries with high terminating charges
    "+1242", "+1246", "+1264", "+1268", "+1284", "+1345", "+1441", "+1473", "+1649", "+1664",
    "+1721", "+1758", "+1767", "+1784", "+1809", "+1829", "+1849", "+1868", "+1869", "+1876",
    "+1658", "+1900",
    "+1976", // islands that look like North America, and its premium numbers
];

/// Area codes of E.164's country code 1 outside the United States and Canada.
const ISLANDS: [&str; 21] = [
    "242", "246", "264", "268", "284", "345", "441", "473", "649", "664", "721", "758", "767",
    "784", "809", "829", "849", "868", "869", "876", "658",
];

const EU: &[&str] = &["112"];

const fn plain(
    name: &'static str,
    code: &'static str,
    emergency: &'static [&'static str],
    premium: &'static [&'static str],
) -> Country {
    Country { name, code, international: "00", national: "0", bare: (0, 0), emergency, premium }
}

/// A country whose numbers are dialled in full, without a prefix.
const fn closed(
    name: &'static str,
    code: &'static str,
    bare: (usize, usize),
    emergency: &'static [&'static str],
    premium: &'static [&'static str],
) -> Country {
    Country { name, code, international: "00", national: "", bare, emergency, premium }
}

const fn american(name: &'static str) -> Country {
    Country {
        name,
        code: "1",
        international: "011",
        national: "1",
        bare: (10, 10),
        emergency: &["911"],
        premium: &["900", "976"],
    }
}

/// By ISO code. Sources: ITU-T E.164 national numbering plans, and the emergency numbers that the
/// countries' regulators name.
const COUNTRIES: &[Country] = &[
    plain("ae", "971", &["999", "998", "997", "112"], &["900"]),
    plain("ar", "54", &["911", "112"], &["600", "609"]),
    plain("at", "43", &["112", "122", "133", "144"], &["900", "901", "930", "931", "939"]),
    Country { international: "0011", ..plain("au", "61", &["000", "112"], &["190"]) },
    plain("be", "32", &["112", "100", "101"], &["900", "901", "902", "903", "904", "905", "909"]),
    plain("bg", "359", EU, &["90"]),
    Country { bare: (0, 0), ..plain("br", "55", &["190", "192", "193", "112"], &["900", "300"]) },
    american("ca"),
    plain("ch", "41", &["112", "117", "118", "144"], &["900", "901", "906"]),
    Country { bare: (9, 9), national: "", ..plain("cl", "56", &["131", "132", "133"], &["600"]) },
    plain("cn", "86", &["110", "119", "120"], &[]),
    closed("cy", "357", (8, 8), &["112", "199"], &["900", "909"]),
    closed("cz", "420", (9, 9), &["112", "150", "155", "158"], &["900", "906", "909", "976"]),
    plain("de", "49", &["112", "110"], &["900", "137", "118"]),
    closed("dk", "45", (8, 8), EU, &["90"]),
    closed("ee", "372", (7, 8), EU, &["900"]),
    closed("es", "34", (9, 9), EU, &["803", "806", "807", "905", "907"]),
    plain("fi", "358", EU, &["600", "606", "700"]),
    plain("fr", "33", &["112", "15", "17", "18", "114"], &["81", "82", "89"]),
    plain("gb", "44", &["999", "112"], &["9", "87", "84", "118", "70"]),
    closed("gr", "30", (10, 10), &["112", "100", "166", "199"], &["90"]),
    Country { international: "001", ..plain("hk", "852", &["999", "112"], &["900"]) },
    plain("hr", "385", EU, &["60", "61", "64", "65"]),
    Country { national: "06", ..plain("hu", "36", &["112", "104", "105", "107"], &["90", "91"]) },
    plain("ie", "353", &["112", "999"], &["152", "153", "154", "155", "156", "157", "158", "159"]),
    plain("il", "972", &["100", "101", "102", "112"], &["900", "190"]),
    plain("in", "91", &["112", "100", "101", "102"], &["190"]),
    closed("is", "354", (7, 7), EU, &["90"]),
    closed("it", "39", (6, 11), &["112", "113", "115", "118"], &["89", "144", "166", "178", "199"]),
    Country { international: "010", ..plain("jp", "81", &["110", "119"], &["990"]) },
    Country { international: "001", ..plain("kr", "82", &["112", "119"], &["60"]) },
    plain("lt", "370", EU, &["90"]),
    closed("lu", "352", (6, 11), &["112", "113"], &["90"]),
    closed("lv", "371", (8, 8), &["112", "110"], &["90", "809"]),
    closed("mt", "356", (8, 8), EU, &["50", "51", "52"]),
    closed("mx", "52", (10, 10), &["911"], &["900"]),
    plain("my", "60", &["999", "112"], &["600"]),
    plain("nl", "31", EU, &["900", "906", "909", "18"]),
    closed("no", "47", (8, 8), &["110", "112", "113"], &["82"]),
    plain("nz", "64", &["111"], &["900"]),
    closed("pl", "48", (9, 9), &["112", "997", "998", "999"], &["70"]),
    closed("pt", "351", (9, 9), EU, &["601", "607", "646", "648", "760", "761"]),
    plain("ro", "40", EU, &["900", "903", "906"]),
    plain("rs", "381", &["112", "192", "193", "194"], &["90"]),
    plain("se", "46", EU, &["900", "939", "944"]),
    Country { national: "", bare: (8, 8), ..plain("sg", "65", &["999", "995", "112"], &["190"]) },
    plain("si", "386", &["112", "113"], &["90"]),
    plain("sk", "421", EU, &["900", "97", "98"]),
    plain("tr", "90", EU, &["900", "888", "898"]),
    plain("ua", "380", &["112", "101", "102", "103"], &["900"]),
    american("us"),
    plain("za", "27", &["112", "10111", "10177"], &["862", "867"]),
];

#[cfg(test)]
mod tests {
    use crosspoint_base::Rng;

    use super::*;

    #[test]
    fn what_people_dial_becomes_e164() {
        let check = |country: &str, dialled: &str, expected: &str| {
            let country = Country::find(country).unwrap();
            assert_eq!(country.normalize(dialled), expected, "{} {dialled}", country.name);
        };
        check("de", "030 123456", "+4930123456");
        check("DE", "0049 30/123-456", "+4930123456");
        check("de", "+49 (0) 30 123456", "+4930123456");
        check("de", "00441632960001", "+441632960001");
        check("de", "1001", "1001");
        check("de", "112", "112");
        check("de", "alice", "alice");
        check("de", "alice.smith-2", "alice.smith-2");
        check("de", "0000123", "0000123");
        check("de", "+0123456", "+0123456");
        check("us", "2025550123", "+12025550123");
        check("us", "1 (202) 555-0123", "+12025550123");
        check("us", "011442079460000", "+442079460000");
        check("us", "911", "911");
        check("us", "1001", "1001");
        check("es", "912345678", "+34912345678");
        check("it", "0612345678", "+390612345678");
        check("it", "112", "112");
        check("dk", "12345678", "+4512345678");
        check("hu", "0612345678", "+3612345678");
        check("au", "0011441632960001", "+441632960001");
        check("gb", "07700900123", "+447700900123");
    }

    #[test]
    fn a_trunk_gets_the_form_it_wants() {
        let de = Country::find("de").unwrap();
        let check = |number: &str, form, expected: &str| {
            assert_eq!(de.print(number, form), expected);
        };
        check("+4930123", NumberForm::Plus, "+4930123");
        check("+4930123", NumberForm::E164, "4930123");
        check("+4930123", NumberForm::National, "030123");
        check("+441632", NumberForm::National, "00441632");
        check("1001", NumberForm::National, "1001");
    }

    #[test]
    fn countries_are_told_apart() {
        assert_eq!(country_code("+4930123"), Some("49"));
        assert_eq!(country_code("+12025550123"), Some("1"));
        assert_eq!(country_code("+35312345"), Some("353"));
        assert_eq!(country_code("0301"), None);
        assert_eq!(country_code("+4"), None);
        let us = Country::find("us").unwrap();
        assert!(!us.is_abroad("+14165550123"), "Canada");
        assert!(us.is_abroad("+18765550123"), "Jamaica");
        assert!(us.is_abroad("+4930123"));
        assert!(!us.is_abroad("1001"));
    }

    /// Any text at all: normalizing it twice is normalizing it once, and printing what came out
    /// in any form leads back to the same number.
    #[test]
    fn normalizing_is_idempotent_and_every_form_leads_back() {
        let mut rng = Rng::from_u64(4711);
        let alphabet: Vec<char> = "0123456789012345678900+-. ()/abéx".chars().collect();
        for _ in 0..40_000 {
            let country = &COUNTRIES[rng.below(u32::try_from(COUNTRIES.len()).unwrap()) as usize];
            let length = rng.below(18);
            let mut text: String = (0..length)
                .map(|_| alphabet[rng.below(u32::try_from(alphabet.len()).unwrap()) as usize])
                .collect();
            match rng.below(4) {
                0 => text.insert(0, '+'),
                1 => text.insert_str(0, country.international),
                2 => text.insert_str(0, country.national),
                _ => {}
            }
            let once = country.normalize(&text);
            assert_eq!(country.normalize(&once), once, "{} {text:?}", country.name);
            if once.starts_with('+') && once != text {
                for form in [NumberForm::Plus, NumberForm::E164, NumberForm::National] {
                    let printed = country.print(&once, form);
                    let again = match form {
                        NumberForm::E164 => format!("+{printed}"),
                        _ => country.normalize(&printed),
                    };
                    // What nobody can dial at home (a nought after the prefix) stays what it is; and
                    // where numbers of a certain length need no prefix, others are no numbers.
                    let leads_back = form != NumberForm::National || country.bare == (0, 0);
                    if again.starts_with('+') && leads_back {
                        assert_eq!(again, once, "{} {text:?} {printed}", country.name);
                    }
                }
            }
        }
    }
}
