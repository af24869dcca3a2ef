//! Text of strangers where people will see it: on terminals, in logs, on pages.

/// False for characters that do something else than show: control characters, with which a terminal
/// is steered and a line is forged, and those that turn the direction of what follows.
#[must_use]
pub fn is_plain(c: char) -> bool {
    let turns_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let breaks_lines = matches!(c, '\u{2028}' | '\u{2029}');
    let is_invisible =
        matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !(c.is_control() || turns_direction || breaks_lines || is_invisible)
}

/// A name for people: what does not show is left out, and what is too long is cut.
#[must_use]
pub fn plain_name(name: &str, most: usize) -> String {
    name.chars().filter(|c| is_plain(*c)).take(most).collect()
}

/// A name by which something is found: what does not show is replaced, so that it means nobody
/// rather than somebody else.
#[must_use]
pub fn plain_address(address: &str, most: usize) -> String {
    let shown = |c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER };
    address.chars().map(shown).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_nothing_that_steers_a_terminal_or_turns_a_line() {
        let hostile = "A\u{1b}[31mB\u{7}\r\n\0C\u{9b}2J\u{202e}D\u{2067}E\u{2028}F\u{feff}\u{7f}";
        assert_eq!(plain_name(hostile, 100), "A[31mBC2JDEF");
        assert_eq!(plain_name("Jürgen 東京 👩‍👩‍👧 <b>&", 100), "Jürgen 東京 👩‍👩‍👧 <b>&");
        assert_eq!(plain_name(&"x".repeat(70_000), 128).len(), 128);
        assert_eq!(plain_address("ali\0ce", 100), "ali\u{fffd}ce");
    }
}
