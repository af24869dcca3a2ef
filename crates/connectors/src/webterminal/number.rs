//! Numbers as the protocol writes them: E.164 with a plus where it is such a number.

/// What a terminal's number means to the router. Samples of the protocol write E.164 numbers with
/// and without the plus; short ones are extensions.
pub(super) fn dialled(number: &str) -> Option<String> {
    crate::rtcengine::dialled(number).map(with_plus)
}

/// How a party's address is shown to terminals; empty when it is not known.
#[must_use]
pub fn shown(address: &str) -> String {
    let user = address.split_once('@').map_or(address, |(user, _)| user);
    with_plus(user.to_owned())
}

/// The longest E.164 number has 15 digits and none begins with a zero; the shortest whole ones
/// have eight.
fn with_plus(number: String) -> String {
    let is_whole = (8..=15).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
        && !number.starts_with('0');
    if is_whole { format!("+{number}") } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_get_their_plus_and_others_stay() {
        for (written, means) in [
            ("+4799887766", "+4799887766"),
            ("4799887766", "+4799887766"),
            ("+47 99 88 77 66", "+4799887766"),
            ("1001", "1001"),
            ("030123456", "030123456"),
            ("bob", "bob"),
            ("*98#", "*98#"),
        ] {
            assert_eq!(dialled(written).as_deref(), Some(means), "{written}");
        }
        assert_eq!(dialled(" "), None);
        assert_eq!(shown("4799887766@carrier.example"), "+4799887766");
        assert_eq!(shown(""), "");
    }
}
