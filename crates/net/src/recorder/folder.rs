//! The folder of recordings: names, free space, what a crash left unfinished, and what is removed
//! after its time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crosspoint_media::recording::{Format, Repaired, repair};

use super::{Finished, RecorderConfig, RecorderNews, RefusedRemoval, RefusedStart};

/// See the module.
pub(super) struct Folder {
    pub(super) config: RecorderConfig,
}

impl Folder {
    pub(super) fn open(config: RecorderConfig) -> io::Result<Self> {
        make(&config.folder.join(UNFINISHED))?;
        Ok(Self { config })
    }

    /// Free bytes, when there are too few.
    pub(super) fn check_space(&self) -> Result<(), RefusedStart> {
        let io = |error: rustix::io::Errno| RefusedStart::Io(error.to_string());
        let found = rustix::fs::statvfs(&self.config.folder).map_err(io)?;
        let (free, floor) = (found.f_bavail.saturating_mul(found.f_frsize), self.config.min_free);
        if free < floor { Err(RefusedStart::NoSpace { free, floor }) } else { Ok(()) }
    }

    /// Makes a file that was not there before, and keeps `note` for as long as it is not
    /// finished; gives its name within the folder.
    pub(super) fn create(&self, name: &str, note: &str) -> Result<(String, File), RefusedStart> {
        let io = |error: io::Error| RefusedStart::Io(error.to_string());
        let name = format!("{}.{}", plain(name), self.config.format.extension());
        let path = self.path_of(&name);
        if let Some(parent) = path.parent() {
            make(parent).map_err(io)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(io)?;
        fs::write(self.note_of(&name), note).map_err(io)?;
        Ok((name, file))
    }

    /// A file is whole, and whoever has to know of it does.
    pub(super) fn forget_note(&self, name: &str) {
        let _ = fs::remove_file(self.note_of(name));
    }

    /// Where it stands that a file is being written: day and name, as one name.
    fn note_of(&self, name: &str) -> PathBuf {
        let file = format!("{}.json", name.replace('/', "+"));
        self.config.folder.join(UNFINISHED).join(file)
    }

    /// Repairs what a process before this did not finish, and tells of it; gives how many.
    pub(super) fn recover(&self, on_news: &mut impl FnMut(RecorderNews)) -> u64 {
        let mut notes = entries(&self.config.folder.join(UNFINISHED));
        notes.sort();
        let mut count = 0;
        for path in notes {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let name = name.replacen('+', "/", 1);
            let note = fs::read_to_string(&path).unwrap_or_default();
            match self.mend(&name) {
                Ok(Repaired { length, bytes }) => {
                    count += 1;
                    let reason = "crashed";
                    let recording = None;
                    let found = Finished { recording, note, name, bytes, length, reason };
                    on_news(RecorderNews::Finished(found));
                }
                // Nothing of it ever reached the disk, or somebody took it away.
                Err(error) => tracing::warn!(%error, name, "an unfinished recording is lost"),
            }
            let _ = fs::remove_file(path);
        }
        count
    }

    fn mend(&self, name: &str) -> io::Result<Repaired> {
        let format = Format::of(name).ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = OpenOptions::new().read(true).write(true).open(self.path_of(name))?;
        let repaired = repair(format, &mut file)?;
        file.set_len(repaired.bytes)?;
        Ok(repaired)
    }

    /// Removes a file, but not one of those in `open`.
    pub(super) fn remove(&self, name: &str, open: &[PathBuf]) -> Result<(), RefusedRemoval> {
        let is_ours = Format::of(name).is_some()
            && name.split_once('/').is_some_and(|(day, rest)| {
                let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                !day.contains('.') && rest.matches('.').count() == 1 && rest.chars().all(fits)
            });
        if !is_ours {
            return Err(RefusedRemoval::Unknown);
        }
        let path = self.path_of(name);
        if open.contains(&path) {
            return Err(RefusedRemoval::Open);
        }
        fs::remove_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RefusedRemoval::Unknown,
            _ => RefusedRemoval::Io(error.to_string()),
        })?;
        // Succeeds when it was the day's last.
        let _ = path.parent().map(fs::remove_dir);
        Ok(())
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.config.folder.join(name)
    }

    /// Removes what is too old or too much, but not those in `open`; gives how many.
    pub(super) fn clean(&self, open: &[PathBuf], on_news: &mut impl FnMut(RecorderNews)) -> u64 {
        let (keep, most) = (self.config.keep, self.config.keep_bytes);
        if keep.is_none() && most.is_none() {
            return 0;
        }
        let mut count = 0;
        let mut files = Vec::new();
        for day in entries(&self.config.folder) {
            for path in entries(&day) {
                let Ok(data) = fs::metadata(&path) else { continue };
                let is_ours = path.extension().is_some_and(|e| e == "wav" || e == "opus");
                if is_ours && data.is_file() && !open.contains(&path) {
                    files.push((
                        data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        path,
                        data.len(),
                    ));
                }
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let now = SystemTime::now();
        for (modified, path, bytes) in files {
            let age = now.duration_since(modified).unwrap_or_default();
            let is_old = keep.is_some_and(|keep| age > keep);
            let is_too_much = most.is_some_and(|most| total > most);
            if !is_old && !is_too_much {
                continue;
            }
            let reason = if is_old { "too_old" } else { "too_much" };
            match fs::remove_file(&path) {
                Ok(()) => {
                    count += 1;
                    total = total.saturating_sub(bytes);
                    let within = path.strip_prefix(&self.config.folder);
                    let name = within.unwrap_or(&path).to_string_lossy().into_owned();
                    on_news(RecorderNews::Removed { name, reason });
                }
                Err(error) => tracing::warn!(%error, "an old recording cannot be removed"),
            }
            // Succeeds when it was the day's last.
            let _ = path.parent().map(fs::remove_dir);
        }
        count
    }
}

/// Only what cannot lead elsewhere: a folder of our own and a name, whatever was asked for.
fn plain(name: &str) -> String {
    let clean = |part: &str| -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let part = part.chars().map(|c| if fits(c) { c } else { '_' });
        part.take(MAX_NAME).collect()
    };
    match name.split_once('/') {
        Some((folder, name)) => format!("{}/{}", clean(folder), clean(name)),
        None => format!("recordings/{}", clean(name)),
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    found.flatten().map(|entry| entry.path()).collect()
}

const MAX_NAME: usize = 120;
/// What is being written, a small file for each.
const UNFINISHED: &str = "unfinished";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (name, expected) in [
            ("2026-11-21/120000-abc", "2026-11-21/120000-abc"),
            ("../../etc/passwd", "__/___etc_passwd"),
            ("/etc/passwd", "/etc_passwd"),
            ("a/../b", "a/___b"),
            ("..", "recordings/__"),
            ("a\0b/c d%", "a_b/c_d_"),
        ] {
            let found = plain(name);
            assert_eq!(found.trim_start_matches('/'), expected.trim_start_matches('/'), "{name}");
            assert!(!found.contains(".."), "{found}");
        }
    }
}
