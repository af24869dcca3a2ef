//! A carrier's list of rates: a prefix and a price a line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Prefixes with `+` in front and what a minute costs, in millionths.
pub(super) fn read(path: &Path) -> Result<Vec<(String, u64)>, String> {
    let file =
        File::open(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let mut rates = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let wrong = |what: &str| format!("{}, line {}: {what}", path.display(), number + 1);
        let line = line.map_err(|error| wrong(&error.to_string()))?;
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (prefix, price) = line.split_once(',').ok_or_else(|| wrong("there is no comma"))?;
        let digits = prefix.trim().trim_start_matches('+');
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("this is no prefix"));
        }
        let price = millionths(price.trim()).ok_or_else(|| wrong("this is no price"))?;
        rates.push((format!("+{digits}"), price));
        if rates.len() > MOST {
            return Err(wrong("more rates than a million"));
        }
    }
    Ok(rates)
}

/// A decimal number such as `0.012`, with no more than six places, in millionths.
pub(crate) fn millionths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !are_digits(whole) || !are_digits(part) {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

const MOST: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact() {
        let check = |text, expected| assert_eq!(millionths(text), expected, "{text}");
        check("0.012", Some(12_000));
        check("1", Some(1_000_000));
        check("0.000001", Some(1));
        check("0.0000001", None);
        check(".5", None);
        check("-1", None);
        check("1e3", None);
        check("99999999999999999999", None);
    }

    #[test]
    fn a_list_is_read_and_a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rates.csv");
        std::fs::write(&file, "# carrier\n49,0.01\n+4930, 0.005 # Berlin\n\n").unwrap();
        let rates = read(&file).unwrap();
        assert_eq!(rates, [("+49".to_owned(), 10_000), ("+4930".to_owned(), 5_000)]);
        std::fs::write(&file, "49,0.01\nx,1\n").unwrap();
        assert!(read(&file).unwrap_err().contains("line 2: this is no prefix"));
    }
}
